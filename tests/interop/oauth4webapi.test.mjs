// oauth4webapi as the DPoP caller: every proof algorithm, the demanded nonce, a body, a token bound twice.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, beforeEach, test } from 'node:test';

import { decodeJwt, decodeProtectedHeader } from 'jose';
import * as oauth from 'oauth4webapi';

import { CLIENTS } from './authority.mjs';
import { onceMoreForANonce, openCaller } from './caller.mjs';
import { thumbprintOf } from './certificates.mjs';
import { openScene } from './scene.mjs';
import { assertForwarded } from './verdict.mjs';

const scene = await openScene();
after(() => scene.close());
beforeEach(() => scene.upstream.requests.splice(0));

test('the token is the JWT of RFC 9068, bound to the key', async () => {
  const { token, type, jkt } = await openCaller(scene, CLIENTS.dpop);
  assert.equal(type, 'dpop');
  const { typ, alg } = decodeProtectedHeader(token);
  assert.deepEqual({ typ, alg }, { typ: 'at+jwt', alg: 'ES256' });
  const { iss, aud, sub, client_id, jti, iat, exp, scope, cnf } = decodeJwt(token);
  assert.deepEqual({ iss, aud, sub, client_id, scope, cnf }, {
    iss: scene.authority.issuer,
    aud: scene.gateway.url,
    sub: CLIENTS.dpop.client_id,
    client_id: CLIENTS.dpop.client_id,
    scope: 'accounts:read',
    cnf: { jkt },
  });
  assert.ok(jti && iat && exp > iat);
});

for (const algorithm of ['ES256', 'PS256', 'Ed25519']) {
  test(`a ${algorithm} key is let through, request after request`, async () => {
    const caller = await openCaller(scene, CLIENTS.dpop, { algorithm });
    for (const path of ['/accounts', '/accounts/1?verbose=yes', '/accounts']) {
      scene.upstream.requests.splice(0);
      const { status } = await caller.send('GET', path);
      const arrived = assertForwarded(scene, status, { client: CLIENTS.dpop, binding: 'dpop', thumbprint: caller.jkt });
      assert.equal(arrived.url, path);
    }
  });
}

test('a demanded nonce costs one more request, once', async () => {
  const caller = await openCaller(scene, CLIENTS.dpop);
  await assert.rejects(caller.send('GET', '/nonce'), oauth.isDPoPNonceError);
  assert.equal(scene.upstream.requests.length, 0, 'a request without the nonce does not arrive');

  const identity = { client: CLIENTS.dpop, binding: 'dpop', thumbprint: caller.jkt };
  assertForwarded(scene, (await caller.send('GET', '/nonce')).status, identity);
  scene.upstream.requests.splice(0);
  assertForwarded(scene, (await caller.send('GET', '/nonce/again')).status, identity);
});

test('a body of a megabyte arrives as it was sent', async () => {
  const caller = await openCaller(scene, CLIENTS.dpop);
  const body = randomBytes(1 << 20);
  const { status } = await caller.send('POST', '/accounts/import', body, { 'content-type': 'application/octet-stream' });
  const arrived = assertForwarded(scene, status, { client: CLIENTS.dpop, binding: 'dpop', thumbprint: caller.jkt });
  assert.equal(arrived.method, 'POST');
  assert.ok(arrived.body.equals(body));
});

test('a token bound to a key and a certificate passes with both', async () => {
  const certificate = scene.issue('both-caller', 'client');
  const caller = await openCaller(scene, CLIENTS.both, { certificate });
  assert.deepEqual(decodeJwt(caller.token).cnf, { jkt: caller.jkt, 'x5t#S256': thumbprintOf(certificate) });

  const { status } = await onceMoreForANonce(() => caller.send('GET', '/both'));
  assertForwarded(scene, status, { client: CLIENTS.both, binding: 'both', thumbprint: caller.jkt });
});
