{{/* What the schema cannot say. */}}
{{- define "dft.checks" -}}
{{- $v := .Values -}}
{{- if and (eq $v.device "cpu") $v.routes.triton.enabled -}}
{{- fail "routes.triton.enabled: device cpu serves Triton 2.51, which can end when a proxy cancels a call; route to the gateway, or set device: gpu" -}}
{{- end -}}
{{- $tls := $v.server.tls -}}
{{- if and $tls.enabled (not $tls.existingSecret) -}}
{{- fail "server.tls.existingSecret: name a Secret of type kubernetes.io/tls" -}}
{{- end -}}
{{- if and $tls.clientCaSecret (not $tls.enabled) -}}
{{- fail "server.tls.clientCaSecret: needs server.tls.enabled: true" -}}
{{- end -}}
{{- if and $tls.enabled (or $v.gateway.enabled $v.envoy.enabled) (not $v.gateway.tritonTls.existingSecret) -}}
{{- fail "gateway.tritonTls.existingSecret: server.tls is enabled; name a Secret with ca.crt, which the gateway and Envoy trust" -}}
{{- end -}}
{{- if and $tls.clientCaSecret (or $v.gateway.enabled $v.envoy.enabled) (not $v.gateway.tritonTls.mutual) -}}
{{- fail "gateway.tritonTls.mutual: server.tls.clientCaSecret asks callers for certificates; set it to true, with tls.crt and tls.key in gateway.tritonTls.existingSecret" -}}
{{- end -}}
{{- if and $v.gateway.tritonTls.mutual (not $v.gateway.tritonTls.existingSecret) -}}
{{- fail "gateway.tritonTls.mutual: needs gateway.tritonTls.existingSecret" -}}
{{- end -}}
{{- if and $v.gateway.tls.enabled (not $v.gateway.tls.existingSecret) -}}
{{- fail "gateway.tls.existingSecret: name a Secret of type kubernetes.io/tls" -}}
{{- end -}}
{{- $store := $v.modelRepository.objectStore -}}
{{- if eq $v.modelRepository.type "objectStore" -}}
{{- if not (and $store.source $store.existingSecret) -}}
{{- fail "modelRepository.objectStore: name source (REMOTE:BUCKET/PATH) and existingSecret, which holds rclone.conf" -}}
{{- end -}}
{{- end -}}
{{- if and (ne $v.engineCache.type "none") (eq $v.device "cpu") -}}
{{- fail "engineCache.type: TensorRT engines are for device: gpu; set that, or type: none" -}}
{{- end -}}
{{- if and (eq $v.engineCache.type "pvc") (not $v.engineCache.pvc.existingClaim) -}}
{{- fail "engineCache.pvc.existingClaim: name a claim that all servers may write, or set engineCache.type: emptyDir" -}}
{{- end -}}
{{- $hooks := $v.gateway.webhooks -}}
{{- $wanted := or $hooks.url $hooks.allowedHosts -}}
{{- if and $wanted (not $hooks.existingSecret) -}}
{{- fail "gateway.webhooks.existingSecret: webhooks are signed; name a Secret with the key" -}}
{{- end -}}
{{- if and $hooks.existingSecret (not $wanted) -}}
{{- fail "gateway.webhooks.existingSecret: set gateway.webhooks.url or allowedHosts, too" -}}
{{- end -}}
{{- if and $v.monitoring.podMonitor.enabled $v.gateway.enabled (not $v.gateway.apiKeys.disabled) (not $v.monitoring.podMonitor.gatewayKeySecret) -}}
{{- fail "monitoring.podMonitor.gatewayKeySecret: the gateway's /metrics asks for an API key; name a Secret that holds one (gatewayKeySecretKey)" -}}
{{- end -}}
{{- if and $v.monitoring.prometheusRule.enabled (not $v.monitoring.podMonitor.enabled) -}}
{{- fail "monitoring.prometheusRule.enabled: without monitoring.podMonitor nothing gives metrics the label `deployment`, and alerts of missing servers fire for ever; enable it, too" -}}
{{- end -}}
{{- $spool := include "dft.spoolBytes" . | float64 -}}
{{- $upload := upper $v.gateway.limits.maxUpload -}}
{{- $upload = include "dft.bytes" (ternary $upload (printf "%si" $upload) (not (regexMatch "[KMGT]$" $upload))) | float64 -}}
{{- if gt $upload $spool -}}
{{- fail (printf "gateway.limits.maxUpload: got %s, expected at most 95 %% of gateway.spool.sizeLimit (%s)" $v.gateway.limits.maxUpload $v.gateway.spool.sizeLimit) -}}
{{- end -}}
{{- include "dft.checkRoutes" . -}}
{{- include "dft.checkScaling" . -}}
{{- end -}}

{{/* What uploads may take of the spool's volume: a twentieth is for previews, and what the file system takes. */}}
{{- define "dft.spoolBytes" -}}
{{- mulf (include "dft.bytes" .Values.gateway.spool.sizeLimit | float64) 0.95 | int64 -}}
{{- end -}}

{{/* Bytes of a quantity such as 20Gi. */}}
{{- define "dft.bytes" -}}
{{- $units := dict "" 1 "k" 1e3 "K" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- $unit := regexFind "[A-Za-z]*$" . -}}
{{- printf "%.0f" (mulf (trimSuffix $unit . | float64) (get $units $unit | float64)) -}}
{{- end -}}

{{- define "dft.checkRoutes" -}}
{{- $v := .Values -}}
{{- range $name := list "grpc" "http" "triton" -}}
{{- $route := index $v.routes $name -}}
{{- if and $route.enabled (not $route.parentRefs) -}}
{{- fail (printf "routes.%s.parentRefs: name the Gateway" $name) -}}
{{- end -}}
{{- if and $route.enabled (ne $name "triton") (not $v.gateway.enabled) -}}
{{- fail (printf "routes.%s.enabled: needs gateway.enabled: true" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.routes.http.enabled (not $v.routes.http.hostnames) (not $v.gateway.allowHosts) -}}
{{- fail "routes.http.hostnames: the gateway answers to names that it knows (DNS rebinding); name them there, or in gateway.allowHosts" -}}
{{- end -}}
{{- $grpc := $v.routes.grpc -}}{{- $http := $v.routes.http -}}
{{- if and $grpc.enabled $http.enabled (eq (toJson $grpc.parentRefs) (toJson $http.parentRefs)) -}}
{{- if or (not $grpc.hostnames) (not $http.hostnames) -}}
{{- fail "routes: GRPCRoute and HTTPRoute on one listener need different host names; set routes.grpc.hostnames and routes.http.hostnames" -}}
{{- end -}}
{{- range $grpc.hostnames -}}
{{- if has . $http.hostnames -}}
{{- fail (printf "routes: %s is a host name of both routes on one listener, of which a Gateway takes one; give them different names, or another listener" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.gateway.tls.enabled (or $grpc.enabled $http.enabled) (not (and $v.routes.backendTls.caConfigMap $v.routes.backendTls.hostname)) -}}
{{- fail "routes.backendTls: gateway.tls is enabled; name caConfigMap and hostname, by which the Gateway trusts it" -}}
{{- end -}}
{{- if and $v.routes.triton.enabled $v.networkPolicy.enabled (not $v.networkPolicy.tritonFrom) -}}
{{- fail "networkPolicy.tritonFrom: routes.triton is enabled; name the pods of the Gateway, which Triton's policy keeps out otherwise" -}}
{{- end -}}
{{- if and $v.routes.triton.enabled $v.server.tls.enabled -}}
{{- fail "routes.triton.enabled: the chart routes to an unencrypted Triton only; write a BackendTLSPolicy and a GRPCRoute of your own" -}}
{{- end -}}
{{- end -}}

{{- define "dft.checkScaling" -}}
{{- $v := .Values -}}{{- $scaling := $v.server.autoscaling -}}
{{- if ne $scaling.type "none" -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "server.autoscaling: got minReplicas %d and maxReplicas %d" (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if ge (int (include "dft.targetPending" .)) (int $v.server.maxQueue) -}}
{{- fail (printf "server.autoscaling.targetPending: got %s, expected less than server.maxQueue (%d): Triton refuses clips from there on, so that the gauge never exceeds it" (include "dft.targetPending" .) (int $v.server.maxQueue)) -}}
{{- end -}}
{{- end -}}
{{- if eq $scaling.type "keda" -}}
{{- if not $scaling.keda.serverAddress -}}
{{- fail "server.autoscaling.keda.serverAddress: name Prometheus, such as http://prometheus-operated.monitoring.svc:9090" -}}
{{- end -}}
{{- if not (or $scaling.keda.query $v.monitoring.podMonitor.enabled) -}}
{{- fail "server.autoscaling.keda.query: without monitoring.podMonitor nothing gives metrics the label `deployment`, which the default query selects; enable it, or write the query" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Clips that wait, on average over the replicas, from which more replicas are started. */}}
{{- define "dft.targetPending" -}}
{{- .Values.server.autoscaling.targetPending | default (max 1 (div (int .Values.server.maxQueue) 4)) | int -}}
{{- end -}}

{{- define "dft.maxReplicas" -}}
{{- ternary .Values.server.replicas .Values.server.autoscaling.maxReplicas (eq .Values.server.autoscaling.type "none") | int -}}
{{- end -}}
