{{- define "dft.envoyConfig" -}}
{{- $tls := .Values.server.tls -}}
{{- $mutual := .Values.gateway.tritonTls.mutual -}}
{{- /* A safety net only. Triton has to refuse by itself: of its refusals clients know what to do. */ -}}
{{- $breaker := mul 4 (int .Values.server.maxQueue) (int (include "dft.maxReplicas" .)) | max 64 -}}
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 9901}}
static_resources:
  listeners:
    - name: triton
      address: {socket_address: {address: {{ .Values.server.host | quote }}, port_value: 8001}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: triton
                codec_type: HTTP2
                stream_idle_timeout: 0s
                drain_timeout: 5s
                route_config:
                  virtual_hosts:
                    - name: triton
                      domains: ["*"]
                      routes:
                        - match: {prefix: /}
                          route:
                            cluster: triton
                            # The caller's own deadline holds.
                            timeout: 0s
                            # Only what no Triton has begun.
                            retry_policy:
                              retry_on: connect-failure,refused-stream
                              num_retries: 2
                              retry_host_predicate:
                                - name: envoy.retry_host_predicates.previous_hosts
                                  typed_config:
                                    "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
                              host_selection_retry_max_attempts: 3
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          {{- if $tls.enabled }}
          transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              require_client_certificate: {{ ne $tls.clientCaSecret "" }}
              common_tls_context:
                alpn_protocols: [h2]
                tls_certificates:
                  - certificate_chain: {filename: /tls/server/tls.crt}
                    private_key: {filename: /tls/server/tls.key}
                {{- if $tls.clientCaSecret }}
                validation_context: {trusted_ca: {filename: /tls/client-ca/ca.crt}}
                {{- end }}
          {{- end }}
    # Readiness and metrics; the rest of the admin interface stays on loopback.
    - name: stats
      address: {socket_address: {address: {{ .Values.server.host | quote }}, port_value: 9902}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: stats
                route_config:
                  virtual_hosts:
                    - name: stats
                      domains: ["*"]
                      routes:
                        - match: {path: /ready}
                          route: {cluster: admin}
                        - match: {path: /stats/prometheus}
                          route: {cluster: admin}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
    - name: triton
      # Every address of the headless Service is a host.
      cluster_type:
        name: envoy.cluster.dns
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster
          dns_refresh_rate: 5s
      connect_timeout: 3s
      lb_policy: LEAST_REQUEST
      # A Triton that is no longer in DNS keeps the requests that it has.
      ignore_health_on_host_removal: false
      common_lb_config: {healthy_panic_threshold: {value: 0}}
      circuit_breakers:
        thresholds:
          - {max_connections: 1024, max_pending_requests: {{ $breaker }}, max_requests: {{ $breaker }}, max_retries: 8}
      health_checks:
        - timeout: 3s
          interval: 5s
          unhealthy_threshold: 2
          healthy_threshold: 1
          grpc_health_check: {}
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config:
            http2_protocol_options:
              connection_keepalive: {interval: 30s, timeout: 10s}
      load_assignment:
        cluster_name: triton
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address: {socket_address: {address: {{ include "dft.headless" . }}.{{ .Release.Namespace }}.svc, port_value: 8001}}
      {{- if $tls.enabled }}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: {{ include "dft.headless" . }}.{{ .Release.Namespace }}.svc
          common_tls_context:
            alpn_protocols: [h2]
            validation_context:
              trusted_ca: {filename: /tls/triton/ca.crt}
              match_typed_subject_alt_names:
                - {san_type: DNS, matcher: {exact: {{ include "dft.headless" . }}.{{ .Release.Namespace }}.svc}}
            {{- if $mutual }}
            tls_certificates:
              - certificate_chain: {filename: /tls/triton/tls.crt}
                private_key: {filename: /tls/triton/tls.key}
            {{- end }}
      {{- end }}
    - name: admin
      type: STATIC
      connect_timeout: 1s
      load_assignment:
        cluster_name: admin
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
{{- end -}}
