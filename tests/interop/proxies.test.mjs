// Real proxies in front of the gateway: who is calling, and with which certificate, survives them and cannot be invented through them.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';

import { CLIENTS } from './authority.mjs';
import { thumbprintOf } from './certificates.mjs';
import { envoy, haproxy, nginx } from './fronts.mjs';
import { freePorts, ownTls, startGateway } from './gateway.mjs';
import { openScene } from './scene.mjs';

// One gateway for each proxy, and each is ended when this process is.
process.setMaxListeners(30);
const scene = await openScene();
const closers = [];
after(async () => {
  for (const close of closers.reverse()) await close();
  await scene.close();
});
beforeEach(() => scene.upstream.requests.splice(0));

const { folder, ca } = scene;
const server = scene.issue('front', 'server');
const holder = scene.issue('holder', 'client');
const other = scene.issue('other', 'client');
const der = (certificate) => new X509Certificate(readFileSync(certificate.certificate)).raw.toString('base64');
const token = await certificateBoundToken();

const names = ['v1', 'v2', 'mtls', 'nginx', 'envoy', 'appending'];
const ports = Object.fromEntries((await freePorts(names.length)).map((port, at) => [names[at], port]));
const TRUSTED = '    trusted_proxies: [127.0.0.1/32]\n';
const listeners = {
  v1: `${ownTls(server)}\n${TRUSTED}    proxy_protocol: required\n`,
  v2: `${ownTls(server)}\n${TRUSTED}    proxy_protocol: required\n`,
  mtls: `    tls: plaintext\n${TRUSTED}    client_certificate_header: client-cert\n    forwarded_header: forwarded\n`,
  nginx: `    tls: plaintext\n${TRUSTED}    client_certificate_header: client-cert\n`,
  envoy: `    tls: plaintext\n${TRUSTED}    client_certificate_header: xfcc\n`,
  appending: `    tls: plaintext\n${TRUSTED}    client_certificate_header: xfcc\n`,
};
const gateways = {};
for (const name of names) {
  const gateway = await startGateway({
    folder, file: `${name}.yaml`, server, ca, issuer: scene.authority.issuer, upstream: scene.upstream.url,
    publicUrl: `https://localhost:${ports[name]}`, audience: scene.gateway.url, listener: listeners[name],
  });
  closers.push(() => gateway.close());
  gateways[name] = gateway.address;
}
for (const front of [
  haproxy({ folder, server, ca, ports: { v1: ports.v1, v2: ports.v2, mtls: ports.mtls }, gateways }),
  nginx({ folder, server, port: ports.nginx, gateway: gateways.nginx }),
  envoy({ folder, server, port: ports.envoy, gateway: gateways.envoy, mode: 'SANITIZE_SET' }),
  envoy({ folder, server, port: ports.appending, gateway: gateways.appending, mode: 'APPEND_FORWARD' }),
]) {
  const running = await front;
  closers.push(() => running.close());
}

async function certificateBoundToken() {
  const { client_id, client_secret } = CLIENTS.mtls;
  const body = new URLSearchParams({ grant_type: 'client_credentials', scope: 'accounts:read', resource: scene.gateway.url, client_id, client_secret });
  const answer = await scene.fetchWith(holder)(`${scene.authority.issuer}/token`, { method: 'POST', body });
  assert.equal(answer.status, 200);
  return (await answer.json()).access_token;
}

/** Asks through the front of this name; gives the status, the reason of a refusal, and what arrived. */
async function ask(name, certificate, headers = {}) {
  const answer = await scene.fetchWith(certificate)(`https://localhost:${ports[name]}/accounts`, {
    headers: { authorization: `Bearer ${token}`, ...headers },
  });
  const { reason } = await answer.json();
  const [arrived] = scene.upstream.requests.splice(0);
  return { status: answer.status, reason, arrived: arrived?.headers, id: answer.headers.get('x-request-id') };
}

for (const name of ['v1', 'v2', 'mtls', 'envoy']) {
  const where = { v1: 'HAProxy, PROXY v1', v2: 'HAProxy, PROXY v2 with checksum', mtls: 'HAProxy, RFC 9440', envoy: 'Envoy, XFCC' }[name];

  test(`${where}: the certificate that the token names is let through, and handed on`, async () => {
    const { status, arrived } = await ask(name, holder);
    assert.equal(status, 200);
    assert.equal(arrived['x-auth-binding'], 'mtls');
    assert.equal(arrived['x-auth-key-thumbprint'], thumbprintOf(holder));
    assert.equal(arrived['client-cert'], `:${der(holder)}:`);
    // Envoy puts this machine's own address for a caller on loopback.
    const caller = name === 'envoy' ? arrived['x-forwarded-for'] : '127.0.0.1';
    assert.equal(arrived['x-forwarded-for'], caller);
    assert.equal(arrived['x-forwarded-client-cert'], undefined);
    assert.equal(arrived.forwarded, `for=${caller};host="localhost:${ports[name]}";proto=https;by=_holdfast`);
  });

  test(`${where}: another certificate, or none, or one in a header, is refused`, async () => {
    assert.equal((await ask(name, other)).reason, 'certificate_mismatch');
    assert.equal((await ask(name, undefined)).reason, 'certificate_missing');
    const hash = Buffer.from(thumbprintOf(holder), 'base64url').toString('hex');
    const claims = { 'client-cert': `:${der(holder)}:`, 'x-forwarded-client-cert': `Hash=${hash}`, forwarded: 'for=10.0.0.1' };
    assert.equal((await ask(name, other, claims)).reason, 'certificate_mismatch');
    assert.equal((await ask(name, undefined, claims)).reason, 'certificate_missing');
  });
}

test('Envoy that appends: a list is not taken for one certificate', async () => {
  assert.equal((await ask('appending', holder)).status, 200);
  const hash = Buffer.from(thumbprintOf(holder), 'base64url').toString('hex');
  const { status, reason } = await ask('appending', other, { 'x-forwarded-client-cert': `Hash=${hash}` });
  assert.deepEqual([status, reason], [400, 'client_cert_invalid']);
});

test('nginx: address and request id are its own, whatever its caller wrote', async () => {
  const forged = { 'x-forwarded-for': '10.9.9.9', 'x-request-id': 'evil', 'client-cert': `:${der(holder)}:` };
  const { reason, id } = await ask('nginx', undefined, forged);
  assert.equal(reason, 'certificate_missing');
  assert.match(id, /^[0-9a-f]{32}$/);
});

test('a caller that goes round the balancer is not heard', async () => {
  const round = scene.fetchWith(holder)(`https://${gateways.v1}/accounts`, { headers: { authorization: `Bearer ${token}` } });
  await assert.rejects(round);
});
