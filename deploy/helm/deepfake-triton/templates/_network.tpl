{{- define "dft.policyHead" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include (printf "dft.%s" $component) $root | quote }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels: {{- include "dft.labels" (list $root $component) | nindent 4 }}
spec:
  policyTypes: [Ingress, Egress]
  podSelector:
    matchLabels: {{- include "dft.selector" (list $root $component) | nindent 6 }}
{{- end -}}
{{- define "dft.dnsRule" -}}
- to: {{- toYaml .Values.networkPolicy.dnsTo | nindent 4 }}
  ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {protocol: UDP, port: {{ int . }}}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
{{- end -}}
{{- define "dft.podPeer" -}}
- podSelector:
    matchLabels: {{- include "dft.selector" . | nindent 6 }}
{{- end -}}

{{- /* Egress to the collector of spans, if there is one. */ -}}
{{- define "dft.collectorRule" -}}
{{- with .Values.tracing.endpoint }}
- ports:
    - {protocol: TCP, port: {{ $.Values.networkPolicy.collectorPort | default (regexFind ":[0-9]+(/|$)" . | trimAll ":/" | default "80") | int }}}
  {{- with $.Values.networkPolicy.collectorTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
