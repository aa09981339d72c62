// Servers behind the gateway, as their operators would set them up: nginx and HAProxy from Debian.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { run } from './program.mjs';

/** nginx over HTTP/1.1, which answers with its name, and ends each connection after `requests` requests. */
export function nginxBehind({ folder, name, port, requests }) {
  const place = join(folder, `nginx-${name}`);
  mkdirSync(place, { recursive: true });
  const file = join(place, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${place};`).join(' ');
  writeFileSync(file, `
daemon off; worker_processes 1; user root; pid ${place}/pid; error_log stderr;
events {}
http {
  access_log off; ${temporary}
  keepalive_requests ${requests};
  server { listen 127.0.0.1:${port}; location / { return 200 "${name}"; } }
}
`.replace(process.getuid() === 0 ? '' : 'user root; ', ''));
  return run('nginx', ['-e', 'stderr', '-p', place, '-c', file], [port]);
}

/** HAProxy over HTTP/2: with TLS at `tls`, for callers whose certificate `ca` signed, and in clear text at `h2c`. It answers with what it was asked by, and how. */
export function haproxyBehind({ folder, server, ca, ports }) {
  const bundle = join(folder, 'haproxy-behind.pem');
  writeFileSync(bundle, readFileSync(server.certificate, 'utf8') + readFileSync(server.key, 'utf8'), { mode: 0o600 });
  const file = join(folder, 'haproxy-behind.cfg');
  writeFileSync(file, `
defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
frontend tls
  bind 127.0.0.1:${ports.tls} ssl crt ${bundle} alpn h2 ca-file ${ca.certificate} verify required
  http-request return status 200 content-type text/plain lf-string "%[fc_http_major] %[ssl_c_s_dn(cn)] %[path]"
frontend h2c
  bind 127.0.0.1:${ports.h2c} proto h2
  http-request return status 200 content-type text/plain lf-string "%[fc_http_major] - %[path]"
`);
  return run('haproxy', ['-db', '-f', file], Object.values(ports));
}
