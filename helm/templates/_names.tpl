{{- define "aiq-braze.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Room is left for the longest ending, "-dashboard-overview" and the like. */}}
{{- define "aiq-braze.fullname" -}}
{{- $name := include "aiq-braze.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "aiq-braze.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "aiq-braze.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "aiq-braze.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Of everything that belongs to the release's pods, the helm-test pod included. */}}
{{- define "aiq-braze.instanceLabels" -}}
app.kubernetes.io/name: {{ include "aiq-braze.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Of the connector's pods alone. */}}
{{- define "aiq-braze.selectorLabels" -}}
{{ include "aiq-braze.instanceLabels" . }}
app.kubernetes.io/component: connector
{{- end -}}

{{/*
The operator's labels of an object, the nearer ones over the common ones; what the chart itself sets is not theirs to say.
A list: root, key of the nearer ones, the nearer ones.
*/}}
{{- define "aiq-braze.operatorsLabels" -}}
{{- $near := index . 2 -}}
{{- $common := (index . 0).Values.commonLabels -}}
{{- range $key, $labels := dict "commonLabels" $common (index . 1) $near -}}
{{- range $own := list "name" "instance" "component" "version" "managed-by" -}}
{{- include "aiq-braze.refuseLabel" (list $key (printf "app.kubernetes.io/%s" $own) $labels) -}}
{{- end -}}
{{- include "aiq-braze.refuseLabel" (list $key "helm.sh/chart" $labels) -}}
{{- end -}}
{{- with mergeOverwrite dict $common $near -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{- define "aiq-braze.refuseLabel" -}}
{{- if hasKey (index . 2) (index . 1) -}}
{{- fail (printf "%s: %s is set by the chart, whose selectors and upgrades need it: remove it" (index . 0) (index . 1)) -}}
{{- end -}}
{{- end -}}

{{/* Namespace and labels of an object; of a list: root, key of its own labels in the values, these labels. */}}
{{- define "aiq-braze.metadata" -}}
{{- $all := kindIs "slice" . | ternary . (list . "" dict) -}}
{{- $root := index $all 0 -}}
namespace: {{ $root.Release.Namespace | quote }}
labels:
  {{- include "aiq-braze.instanceLabels" $root | nindent 2 }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
  {{- with include "aiq-braze.operatorsLabels" $all }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Whether an object whose kind is not Kubernetes' own is rendered: a list of root, api version and kind. */}}
{{- define "aiq-braze.renders" -}}
{{- $root := index . 0 -}}
{{- $api := index . 1 -}}
{{- $kind := index . 2 -}}
{{- if $root.Capabilities.APIVersions.Has (printf "%s/%s" $api $kind) -}}
true
{{- else if eq $root.Values.renderMode "alwaysRender" -}}
true
{{- else if eq $root.Values.renderMode "failIfMissing" -}}
{{- fail (printf "renderMode: the cluster knows no %s of %s: install its operator, or set renderMode to alwaysRender or skipIfMissing" $kind $api) -}}
{{- end -}}
{{- end -}}

{{- define "aiq-braze.hasService" -}}
{{- if or .Values.service.enabled .Values.serviceMonitor.enabled (eq .Values.workload.kind "StatefulSet") -}}true{{- end -}}
{{- end -}}

{{/* How many pods there may be. */}}
{{- define "aiq-braze.replicasMax" -}}
{{- ternary (include "aiq-braze.scaleMax" .) (toString .Values.replicas) .Values.autoscaling.enabled -}}
{{- end -}}

{{/* Rates of one endpoint as a list: what the configuration has, or its default. */}}
{{- define "aiq-braze.rates" -}}
{{- $root := index . 0 -}}
{{- $key := index . 1 -}}
{{- $default := ternary (dict "requests" 3000 "per_s" 3) (dict "requests" 250000 "per_s" 3600) (eq $key "rate") -}}
{{- $rates := get $root.Values.config.braze $key | default $default -}}
{{- if kindIs "map" $rates -}}{{- $rates = list $rates -}}{{- end -}}
{{- range $rates -}}
{{- if or (kindIs "string" .requests) (kindIs "string" .per_s) -}}
{{- fail (printf "config.braze.%s comes from a variable: autoscaling reckons with the quota, so give it in numbers" $key) -}}
{{- end -}}
{{- end -}}
{{- toJson $rates -}}
{{- end -}}

{{- define "aiq-braze.quotaPerSecond" -}}
{{- $least := 1000000000.0 -}}
{{- range include "aiq-braze.rates" . | fromJsonArray -}}
{{- $least = minf $least (divf .requests .per_s) -}}
{{- end -}}
{{- $least -}}
{{- end -}}

{{/* More replicas than partitions are idle, and one whose share of the quota is less than a request cannot send. */}}
{{- define "aiq-braze.scaleMax" -}}
{{- $scale := .Values.autoscaling -}}
{{- $max := int $scale.maxReplicas -}}
{{- if .Values.partitions -}}{{- $max = min $max (int .Values.partitions) -}}{{- end -}}
{{- range include "aiq-braze.rates" (list . "rate") | fromJsonArray -}}
{{- $max = min $max (int .requests) -}}
{{- end -}}
{{- max (int $scale.minReplicas) $max -}}
{{- end -}}
