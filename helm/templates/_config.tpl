{{- define "aiq-braze.port" -}}
{{- $port := dig "http" "port" 8080 .Values.config -}}
{{- if or (kindIs "string" $port) (not (int $port)) -}}
{{- fail (printf "config.http.port is %q: probes need a port that is known beforehand" (toString $port)) -}}
{{- end -}}
{{- int $port -}}
{{- end -}}

{{/* A number of the configuration that the chart reckons with: it cannot reckon with a variable. */}}
{{- define "aiq-braze.seconds" -}}
{{- $key := index . 0 -}}
{{- $value := index . 1 -}}
{{- if kindIs "string" $value -}}
{{- fail (printf "config.%s is %q, which is known in the pod only: set terminationGracePeriodSeconds yourself" $key $value) -}}
{{- end -}}
{{- $value | float64 | ceil -}}
{{- end -}}

{{/* Keys of the configuration under which a secret stands in the clear, and not by a variable. */}}
{{- define "aiq-braze.bareSecrets" -}}
{{- $values := dict "braze.api_key" .Values.config.braze.api_key -}}
{{- with .Values.config.schema_registry -}}{{- $_ := set $values "schema_registry.password" .password -}}{{- end -}}
{{- range $key, $value := .Values.config.kafka -}}
{{- if regexMatch "(password|secret|key\\.pem)$" $key -}}{{- $_ := set $values (printf "kafka.%s" $key) $value -}}{{- end -}}
{{- end -}}
{{- $bare := list -}}
{{- range $key, $value := $values -}}
{{- if and $value (not (contains "${" (toString $value))) -}}{{- $bare = append $bare (printf "config.%s" $key) -}}{{- end -}}
{{- end -}}
{{- toJson $bare -}}
{{- end -}}

{{/*
The drain, then what a leaving partition waits for: the longest request that it may have begun last, or dead letters; then
the commit and the farewell to the group.
*/}}
{{- define "aiq-braze.gracePeriod" -}}
{{- with .Values.terminationGracePeriodSeconds -}}
{{- . | int -}}
{{- else -}}
{{- $drain := include "aiq-braze.seconds" (list "drain_deadline_s" (dig "drain_deadline_s" 20 .Values.config)) -}}
{{- $request := include "aiq-braze.seconds" (list "braze.request_timeout_s" (dig "braze" "request_timeout_s" 30 .Values.config)) -}}
{{- $revoke := include "aiq-braze.seconds" (list "revoke_deadline_s" (dig "revoke_deadline_s" 10 .Values.config)) -}}
{{- add (int $drain) (max (int $request) (int $revoke)) 10 -}}
{{- end -}}
{{- end -}}

{{- define "aiq-braze.brazeSecret" -}}
{{- if .Values.secrets.braze.value -}}
{{- printf "%s-braze" (include "aiq-braze.fullname" .) -}}
{{- else -}}
{{- .Values.secrets.braze.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "aiq-braze.schemas" -}}
{{- if .Values.schemas -}}
{{- printf "%s-schemas" (include "aiq-braze.fullname" .) -}}
{{- else -}}
{{- .Values.existingSchemasConfigMap -}}
{{- end -}}
{{- end -}}

{{/* Secrets that are mounted: the folder's name and the Secret's. */}}
{{- define "aiq-braze.mounts" -}}
{{- $mounts := dict -}}
{{- with include "aiq-braze.brazeSecret" . -}}{{- $_ := set $mounts "braze" . -}}{{- end -}}
{{- with .Values.secrets.kafkaSasl.existingSecret -}}{{- $_ := set $mounts "kafka-sasl" . -}}{{- end -}}
{{- with .Values.secrets.kafkaTls.existingSecret -}}{{- $_ := set $mounts "kafka-tls" . -}}{{- end -}}
{{- with .Values.secrets.schemaRegistry.existingSecret -}}{{- $_ := set $mounts "schema-registry" . -}}{{- end -}}
{{- toJson $mounts -}}
{{- end -}}

{{/* What the chart knows, under what the operator wrote. */}}
{{- define "aiq-braze.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $host := dig "http" "host" "" $config -}}
{{- if regexMatch "^(127\\.|localhost$|::1$)" (toString $host) -}}
{{- fail (printf "config.http.host is %s, which nobody outside of the pod reaches, neither probes nor Prometheus: remove it" $host) -}}
{{- end -}}
{{- $folder := "/etc/aiq-braze/secrets" -}}
{{- $secrets := .Values.secrets -}}
{{- $kafka := dict -}}
{{- $braze := dict -}}
{{- $own := dict "kafka" $kafka "braze" $braze -}}
{{- if and (include "aiq-braze.brazeSecret" .) (not (hasKey $config.braze "api_key")) -}}
{{- $_ := set $braze "api_key_file" (printf "%s/braze/%s" $folder $secrets.braze.key) -}}
{{- end -}}
{{- with $secrets.kafkaSasl -}}
{{- if .existingSecret -}}
{{- with .usernameKey -}}{{- $_ := set $kafka "sasl.username_file" (printf "%s/kafka-sasl/%s" $folder .) -}}{{- end -}}
{{- $_ := set $kafka "sasl.password_file" (printf "%s/kafka-sasl/%s" $folder .passwordKey) -}}
{{- end -}}
{{- end -}}
{{- with $secrets.kafkaTls -}}
{{- if .existingSecret -}}
{{- with .caKey -}}{{- $_ := set $kafka "ssl.ca.location" (printf "%s/kafka-tls/%s" $folder .) -}}{{- end -}}
{{- with .certKey -}}{{- $_ := set $kafka "ssl.certificate.location" (printf "%s/kafka-tls/%s" $folder .) -}}{{- end -}}
{{- with .keyKey -}}{{- $_ := set $kafka "ssl.key.location" (printf "%s/kafka-tls/%s" $folder .) -}}{{- end -}}
{{- with .keyPasswordKey -}}{{- $_ := set $kafka "ssl.key.password_file" (printf "%s/kafka-tls/%s" $folder .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $secrets.schemaRegistry.existingSecret -}}
{{- if not $config.schema_registry -}}
{{- fail "secrets.schemaRegistry.existingSecret is set, but config.schema_registry is not: give its url and user there" -}}
{{- end -}}
{{- $_ := set $own "schema_registry" (dict "password_file" (printf "%s/schema-registry/%s" $folder $secrets.schemaRegistry.passwordKey)) -}}
{{- end -}}
{{- if include "aiq-braze.schemas" . -}}
{{- $_ := set $own "schemas_dir" "/etc/aiq-braze/schemas" -}}
{{- end -}}
{{- if eq .Values.workload.kind "StatefulSet" -}}
{{- with index $config.kafka "group.instance.id" -}}
{{- if not (contains "${" (toString .)) -}}
{{- fail "config.kafka: group.instance.id is the same in every pod, and they would throw each other out: remove it, the chart sets each pod's name" -}}
{{- end -}}
{{- end -}}
{{- $_ := set $kafka "group.instance.id" "${POD_NAME}" -}}
{{- if ne (index $config.kafka "group.protocol" | default "classic" | lower) "consumer" -}}
{{- $_ := set $kafka "session.timeout.ms" (mul .Values.workload.staticSessionTimeoutSeconds 1000) -}}
{{- end -}}
{{- else if hasKey $config.kafka "group.instance.id" -}}
{{- fail "config.kafka: group.instance.id needs pods of stable names: set workload.kind to StatefulSet, which sets it" -}}
{{- end -}}
{{- toYaml (mergeOverwrite $own $config) -}}
{{- end -}}
