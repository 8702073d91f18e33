{{/* A text as a DNS label of at most `max` characters that begins with a letter; with a hash where that changed it, so
that two texts never become one name. Takes (dict "text" "max"). */}}
{{- define "dft.dnsLabel" -}}
{{- $clean := regexReplaceAll "[^a-z0-9-]+" (.text | lower) "-" | trimAll "-" -}}
{{- if not (regexMatch "^[a-z]" $clean) -}}{{- $clean = printf "r-%s" $clean | trimSuffix "-" -}}{{- end -}}
{{- if or (ne $clean .text) (gt (len $clean) (int .max)) -}}
{{- printf "%s-%s" ($clean | trunc (int (sub .max 9)) | trimSuffix "-") (sha256sum .text | trunc 8) -}}
{{- else -}}{{- $clean -}}{{- end -}}
{{- end -}}

{{- define "dft.name" -}}
{{- include "dft.dnsLabel" (dict "text" (default .Chart.Name .Values.nameOverride) "max" 63) -}}
{{- end -}}

{{/* Prefix of every name: RELEASE-NAME. 44 characters leave room for the longest suffix in a label of 63. A hash tells
RELEASE a with NAME b-c from RELEASE a-b with NAME c. */}}
{{- define "dft.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- include "dft.dnsLabel" (dict "text" .Values.fullnameOverride "max" 44) -}}
{{- else if .Values.nameOverride -}}
{{- $clean := include "dft.dnsLabel" (dict "text" (printf "%s-%s" .Release.Name .Values.nameOverride) "max" 200) -}}
{{- printf "%s-%s" ($clean | trunc 35 | trimSuffix "-") (printf "%s/%s" .Release.Name .Values.nameOverride | sha256sum | trunc 8) -}}
{{- else if eq .Release.Name .Chart.Name -}}
{{- .Chart.Name -}}
{{- else -}}
{{- include "dft.dnsLabel" (dict "text" (printf "%s-%s" .Release.Name .Chart.Name) "max" 44) -}}
{{- end -}}
{{- end -}}

{{/* Names of the parts. */}}
{{- define "dft.server" -}}{{ include "dft.fullname" . }}-server{{- end -}}
{{- define "dft.headless" -}}{{ include "dft.fullname" . }}-server-headless{{- end -}}
{{- define "dft.gateway" -}}{{ include "dft.fullname" . }}-gateway{{- end -}}
{{- define "dft.envoy" -}}{{ include "dft.fullname" . }}-envoy{{- end -}}

{{- define "dft.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "dft.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* Labels that never change. Takes (list context component). */}}
{{- define "dft.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "dft.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of an object; none of the user's replaces one of these. Takes (list context component [further labels]). */}}
{{- define "dft.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := include "dft.selector" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "deepfake-triton" -}}
{{- $_ := set $labels "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- if gt (len .) 2 -}}{{- $labels = merge $labels (index . 2) -}}{{- end -}}
{{ toYaml (merge $labels $root.Values.commonLabels) }}
{{- end -}}

{{/* Labels of a pod: the common ones, the part's own, and the selector's, which win. Takes (list context component
podLabels). */}}
{{- define "dft.podLabels" -}}
{{- $root := index . 0 -}}
{{- $labels := merge (include "dft.selector" (list $root (index . 1)) | fromYaml) (dict "app.kubernetes.io/version" $root.Chart.AppVersion "app.kubernetes.io/part-of" "deepfake-triton") (index . 2) $root.Values.commonLabels -}}
{{ toYaml $labels }}
{{- end -}}

{{/* The label `deployment` of this release's metrics, which tells it from every other release. */}}
{{- define "dft.deployment" -}}{{ .Release.Namespace }}/{{ include "dft.fullname" . }}{{- end -}}

{{/* Image reference. Takes (list context image default-repository is-ours). */}}
{{- define "dft.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- $repository := $image.repository | default (index . 2) -}}
{{- if and (index . 3) $root.Values.image.registry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" $root.Values.image.registry) $repository -}}
{{- end -}}
{{- $tag := $image.tag | default $root.Chart.AppVersion -}}
{{- if $image.digest -}}{{ $repository }}@{{ $image.digest }}
{{- else if regexMatch "(?i)(^|[-_.])latest($|[-_.])" $tag -}}
{{- fail (printf "image %s:%s: what it is changes; name a version, or a digest" $repository $tag) -}}
{{- else -}}{{ $repository }}:{{ $tag }}{{- end -}}
{{- end -}}

{{/* Longest time from a server's start until it is ready: engines that are built, then Triton's own. */}}
{{- define "dft.startSeconds" -}}
{{- $cache := .Values.engineCache -}}
{{- add (int .Values.server.startTimeoutSeconds) (ternary 0 (int $cache.buildSeconds) (eq $cache.type "none")) -}}
{{- end -}}

{{- define "dft.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "dft.containerSecurity" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Where pods go. Takes (list context part component). */}}
{{- define "dft.placement" -}}
{{- $root := index . 0 -}}{{- $part := index . 1 -}}{{- $component := index . 2 -}}
{{- with $part.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
topologySpreadConstraints:
{{- if $part.topologySpreadConstraints }}
{{- toYaml $part.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "dft.selector" (list $root $component) | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end -}}

{{- define "dft.apiKeysSecret" -}}
{{- .Values.gateway.apiKeys.existingSecret | default (printf "%s-api-keys" (include "dft.fullname" .)) -}}
{{- end -}}

{{- /* Options of `serve` and `web`. */ -}}
{{- define "dft.traceArguments" -}}
{{- with .Values.tracing }}
{{- if .endpoint }}
- {{ printf "--trace-endpoint=%s" .endpoint | quote }}
- {{ printf "--trace-rate=%s" ((int .rate) | toString) | quote }}
{{- end }}
{{- end }}
{{- end }}
