// The gateway under test: the real binary that $HOLDFAST names, started on a configuration written here, stopped with SIGTERM.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const READY_WITHIN_MS = 20_000;
// With nothing in flight: well under the 30 s that requests in flight may take.
const STOPPED_WITHIN_MS = 10_000;

/** TLS of the gateway's own, which asks callers for a certificate. */
export const ownTls = (server) => `
    tls:
      certificates:
        - { chain: ${server.certificate}, key: ${server.key} }
      client_certificates: { request: optional, trust: any }`;

/**
 * What the gateway is told, in the operator's own words. One resource, behind one route for each way of asking for proof.
 * `more` has upstreams, routes, limits and paths of more audiences of a test's own. Behind another proxy, `publicUrl` is the proxy's, `audience` the one that tokens are for, and `listener` how the two speak.
 */
function configuration({ publicPort, adminPort, server, issuer, ca, upstream, pages, publicUrl, audience, listener, more }) {
  const cors = pages ? `cors: { origins: [${pages}], max_age: 0s }` : '';
  const url = publicUrl ?? `https://localhost:${publicPort}`;
  return `
listeners:
  - name: public
    address: 127.0.0.1:${publicPort}
    public_urls: [${url}]
${listener ?? ownTls(server)}
issuers:
  - issuer: ${issuer}
    audiences: [${[audience ?? url, ...(more?.audiences ?? []).map((path) => url + path)]}]
    keys: { discovery: true }
    trust: { ca: ${ca.certificate} }
    algorithms: [ES256]
${more?.issuer ?? ''}
dpop:
  algorithms: [ES256, PS256, EdDSA]
upstreams:
  accounts: { servers: [${upstream}] }
${more?.upstreams ?? ''}
routes:
  - name: accounts
    match: { path_prefix: /accounts }
    upstream: accounts
    require: { binding: any, scopes: [accounts:read] }
    forward: { identity: headers, report: [x-forwarded, forwarded, client-cert, x-request-id] }
    ${cors}
  - name: nonce
    match: { path_prefix: /nonce }
    upstream: accounts
    require: { binding: dpop, scopes: [accounts:read], nonce: required }
    forward: { identity: headers }
    ${cors}
  - name: both
    match: { path_prefix: /both }
    upstream: accounts
    require: { binding: both, scopes: [accounts:read] }
    forward: { identity: headers }
${more?.routes ?? ''}
${more?.limits ?? ''}
admin:
  address: 127.0.0.1:${adminPort}
`;
}

/** Starts the gateway and waits until it says that it is ready. Gives `{ url, close }`. */
export async function startGateway({ folder, file: name = 'gateway.yaml', port, ...parts }) {
  const binary = process.env.HOLDFAST;
  if (!binary) throw new Error('set HOLDFAST to the gateway binary, as tests/run does');
  const [freePort, adminPort] = await freePorts(2);
  const publicPort = port ?? freePort;
  const file = join(folder, name);
  writeFileSync(file, configuration({ publicPort, adminPort, ...parts }));

  const child = spawn(binary, ['serve', '--config', file], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
  // A test that is itself cut short must not leave a gateway behind.
  const kill = () => child.kill('SIGKILL');
  process.on('exit', kill);
  const exited = once(child, 'exit').then(([code, signal]) => code ?? signal);

  const ready = `http://127.0.0.1:${adminPort}/readyz`;
  const outcome = await Promise.race([
    answers200(ready).then((yes) => (yes ? 'ready' : `not ready within ${READY_WITHIN_MS} ms`)),
    exited.then((code) => `ended with ${code} before it was ready`),
  ]);
  if (outcome !== 'ready') {
    kill();
    throw new Error(`the gateway: ${outcome}\n${said}`);
  }

  return {
    url: parts.publicUrl ?? `https://localhost:${publicPort}`,
    address: `127.0.0.1:${publicPort}`,
    pid: child.pid,
    /** Everything that it has printed so far. */
    said: () => said,
    async close() {
      child.kill('SIGTERM');
      const ended = await Promise.race([exited, delay(STOPPED_WITHIN_MS, 'nothing', { ref: false })]);
      kill();
      process.off('exit', kill);
      if (ended !== 0) throw new Error(`the gateway was told to stop and ended with ${ended}\n${said}`);
    },
  };
}

async function answers200(url) {
  const deadline = Date.now() + READY_WITHIN_MS;
  while (Date.now() < deadline) {
    const status = await fetch(url, { signal: AbortSignal.timeout(2_000) }).then((response) => response.status, () => 0);
    if (status === 200) return true;
    await delay(50);
  }
  return false;
}

/** Below the range that systems take the ports of outgoing connections from: one that is free now is not lost to a connection before it is listened on. */
const PORTS = { first: 12_000, last: 32_000 };

/** `public_urls` has to name the port before the gateway has it, so ports are found first. No two calls of a process find the same. */
export async function freePorts(count) {
  const found = [];
  while (found.length < count) {
    const port = nextPort();
    const holder = net.createServer().listen(port, '127.0.0.1');
    const free = await once(holder, 'listening').then(() => true, () => false);
    if (!free) continue;
    await once(holder.close(), 'close');
    found.push(port);
  }
  return found;
}

/** Test files are processes that run at once: each goes on from where its number puts it. */
let lastPort = PORTS.first + ((process.pid * 97) % (PORTS.last - PORTS.first));
const nextPort = () => (lastPort = lastPort < PORTS.last ? lastPort + 1 : PORTS.first);
