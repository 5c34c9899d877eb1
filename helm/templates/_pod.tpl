{{/* Environment and mounts of every container of ours; the helm-test pod sees what the connector sees. */}}
{{- define "aiq-braze.surroundings" -}}
env:
  - {name: AIQ_BRAZE_CONFIG, value: /etc/aiq-braze/config/connector.yaml}
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - {name: config, mountPath: /etc/aiq-braze/config, readOnly: true}
  {{- if include "aiq-braze.schemas" . }}
  - {name: schemas, mountPath: /etc/aiq-braze/schemas, readOnly: true}
  {{- end }}
  {{- range $name, $secret := include "aiq-braze.mounts" . | fromJson }}
  - {name: secret-{{ $name }}, mountPath: /etc/aiq-braze/secrets/{{ $name }}, readOnly: true}
  {{- end }}
  - {name: tmp, mountPath: /tmp}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "aiq-braze.volumes" -}}
- name: config
  configMap: {name: {{ .Values.existingConfigMap | default (include "aiq-braze.fullname" .) | quote }}}
{{- with include "aiq-braze.schemas" . }}
- name: schemas
  configMap: {name: {{ . | quote }}}
{{- end }}
{{- range $name, $secret := include "aiq-braze.mounts" . | fromJson }}
- name: secret-{{ $name }}
  secret: {secretName: {{ $secret | quote }}, defaultMode: 292}
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What every pod of ours may do, where it may run, with which image. */}}
{{- define "aiq-braze.placement" -}}
serviceAccountName: {{ include "aiq-braze.serviceAccount" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" "dnsConfig" "hostAliases" }}
{{- with index $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The template of Deployment and StatefulSet. */}}
{{- define "aiq-braze.pod" -}}
metadata:
  labels:
    {{- include "aiq-braze.selectorLabels" . | nindent 4 }}
    app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
    {{- with include "aiq-braze.operatorsLabels" (list . "podLabels" .Values.podLabels) }}
    {{- . | nindent 4 }}
    {{- end }}
  annotations:
    {{- if not .Values.existingConfigMap }}
    checksum/config: {{ include "aiq-braze.config" . | sha256sum }}
    {{- end }}
    {{- with .Values.schemas }}
    checksum/schemas: {{ toYaml . | sha256sum }}
    {{- end }}
    {{- toYaml (mergeOverwrite (dict "kubectl.kubernetes.io/default-container" "connector") .Values.commonAnnotations .Values.podAnnotations) | nindent 4 }}
spec:
  {{- include "aiq-braze.placement" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ include "aiq-braze.gracePeriod" . }}
  {{- if kindIs "invalid" .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "aiq-braze.selectorLabels" $ | nindent 10 }}
      {{- if eq $.Values.workload.kind "Deployment" }}
      matchLabelKeys: [pod-template-hash]
      {{- end }}
    {{- end }}
  {{- else if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- end }}
  {{- with .Values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: connector
      image: {{ include "aiq-braze.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run]
      {{- include "aiq-braze.surroundings" . | nindent 6 }}
      ports:
        - {name: http, containerPort: {{ include "aiq-braze.port" . }}, protocol: TCP}
      {{- range $probe := list "startupProbe" "readinessProbe" "livenessProbe" }}
      {{- with index $.Values $probe }}
      {{ $probe }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "aiq-braze.volumes" . | nindent 4 }}
{{- end -}}
