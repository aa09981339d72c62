// Proxies in front of the gateway, as their operators would set them up: HAProxy and nginx from Debian, Envoy from its Python wheel.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { run } from './program.mjs';

/** One file with chain and key, as HAProxy wants it. */
function bundle(folder, { certificate, key }) {
  const file = join(folder, 'haproxy.pem');
  writeFileSync(file, readFileSync(certificate, 'utf8') + readFileSync(key, 'utf8'), { mode: 0o600 });
  return file;
}

/**
 * HAProxy: at `v1` and `v2` it passes TLS through behind a PROXY header; at `mtls` it ends mTLS, hands the certificate on as RFC 9440 has it and says in
 * `Forwarded` who was asked for what.
 */
export function haproxy({ folder, server, ca, ports, gateways }) {
  const file = join(folder, 'haproxy.cfg');
  const forwarded = 'for=%[src];host=\\"%[req.hdr(host)]\\";proto=https';
  writeFileSync(file, `
defaults
  timeout connect 5s
  timeout client 20s
  timeout server 20s
listen v1
  mode tcp
  bind 127.0.0.1:${ports.v1}
  server gateway ${gateways.v1} send-proxy
listen v2
  mode tcp
  bind 127.0.0.1:${ports.v2}
  server gateway ${gateways.v2} send-proxy-v2 proxy-v2-options unique-id,crc32c,ssl
listen mtls
  mode http
  bind 127.0.0.1:${ports.mtls} ssl crt ${bundle(folder, server)} ca-file ${ca.certificate} verify optional
  http-request del-header client-cert
  http-request set-header client-cert :%[ssl_c_der,base64]: if { ssl_c_used }
  http-request set-header forwarded ${forwarded}
  server gateway ${gateways.mtls}
`);
  return run('haproxy', ['-db', '-f', file], Object.values(ports));
}

/** nginx: ends TLS and says who is calling in X-Forwarded-*, with a request id of its own. */
export function nginx({ folder, server, port, gateway }) {
  const place = join(folder, 'nginx');
  mkdirSync(place);
  const file = join(place, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${place};`).join(' ');
  writeFileSync(file, `
daemon off; master_process off; pid ${place}/pid; error_log stderr;
events {}
http {
  access_log off; ${temporary}
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${server.certificate};
    ssl_certificate_key ${server.key};
    location / {
      proxy_pass http://${gateway};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
      proxy_set_header Client-Cert "";
    }
  }
}
`);
  return run('nginx', ['-e', 'stderr', '-p', place, '-c', file], [port]);
}

/** Envoy: ends mTLS and writes X-Forwarded-Client-Cert; with `mode` as `forward_client_cert_details`. */
export function envoy({ folder, server, port, gateway, mode }) {
  const type = (name) => `type.googleapis.com/envoy.${name}`;
  const [host, gatewayPort] = gateway.split(':');
  const manager = {
    '@type': type('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
    stat_prefix: 'front',
    use_remote_address: true,
    forward_client_cert_details: mode,
    set_current_client_cert_details: { cert: true, subject: true, uri: true, dns: true },
    http_filters: [{ name: 'router', typed_config: { '@type': type('extensions.filters.http.router.v3.Router') } }],
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'gateway' } }] }] },
  };
  const tls = {
    '@type': type('extensions.transport_sockets.tls.v3.DownstreamTlsContext'),
    // Whoever holds a key: what counts is the token (RFC 8705 §6.2).
    common_tls_context: {
      tls_certificates: [{ certificate_chain: { filename: server.certificate }, private_key: { filename: server.key } }],
      validation_context: { trust_chain_verification: 'ACCEPT_UNTRUSTED' },
    },
  };
  const at = (address, port_value) => ({ socket_address: { address, port_value: Number(port_value) } });
  const listener = {
    address: at('127.0.0.1', port),
    filter_chains: [{ filters: [{ name: 'http', typed_config: manager }], transport_socket: { name: 'tls', typed_config: tls } }],
  };
  const cluster = {
    name: 'gateway',
    load_assignment: { cluster_name: 'gateway', endpoints: [{ lb_endpoints: [{ endpoint: { address: at(host, gatewayPort) } }] }] },
  };
  const file = join(folder, `envoy-${port}.json`);
  writeFileSync(file, JSON.stringify({ static_resources: { listeners: [listener], clusters: [cluster] } }));
  const binary = process.env.HOLDFAST_ENVOY ?? 'envoy';
  return run(binary, ['-c', file, '--concurrency', '1', '--log-level', 'error', '--disable-hot-restart'], [port]);
}
