// Opaque tokens of oidc-provider: the gateway asks it what they are worth, and is answered in JSON, in a signed JWT, and in an encrypted one (RFC 9701).
import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { generateKeyPair, generateProof } from 'dpop';

import { CLIENTS } from './authority.mjs';
import { openCaller } from './caller.mjs';
import { thumbprintOf } from './certificates.mjs';
import { asking, opaqueAt } from './opaque.mjs';
import { openScene } from './scene.mjs';
import { assertForwarded, assertRefused } from './verdict.mjs';

for (const form of ['json', 'jwt', 'encrypted']) {
  describe(`answered in ${form}`, async () => {
    const scene = await openScene({ more: asking(form) });
    after(() => scene.close());
    beforeEach(() => scene.upstream.requests.splice(0));
    const accounts = `${scene.gateway.url}/accounts`;
    const resource = opaqueAt(scene);

    const forwarded = (status, client, binding, thumbprint) => assertForwarded(scene, status, { client, binding, thumbprint, subject: null });

    test('a token bound to a key passes, and its thief does not', async () => {
      const caller = await openCaller(scene, CLIENTS.dpop, { resource });
      assert.doesNotMatch(caller.token, /\./, 'it is opaque');
      assert.equal(caller.type, 'dpop');
      forwarded((await caller.send('GET', '/accounts')).status, CLIENTS.dpop, 'dpop', caller.jkt);
      scene.upstream.requests.splice(0);
      const thief = await generateProof(await generateKeyPair('ES256'), accounts, 'GET', undefined, caller.token);
      const stolen = { authorization: `DPoP ${caller.token}`, dpop: thief };
      assertRefused(scene, await scene.fetch(accounts, { headers: stolen }), 'invalid_token');
      const bearer = await scene.fetch(accounts, { headers: { authorization: `Bearer ${caller.token}` } });
      assertRefused(scene, bearer, 'invalid_token');
    });

    test('a token bound to a certificate passes with it alone', async () => {
      const certificate = scene.issue('holder', 'client');
      const caller = await openCaller(scene, CLIENTS.mtls, { algorithm: null, certificate, resource });
      assert.doesNotMatch(caller.token, /\./, 'it is opaque');
      forwarded((await caller.send('GET', '/accounts')).status, CLIENTS.mtls, 'mtls', thumbprintOf(certificate));
      scene.upstream.requests.splice(0);
      const other = scene.fetchWith(scene.issue('other', 'client'));
      for (const fetch of [scene.fetch, other]) {
        assertRefused(scene, await fetch(accounts, { headers: { authorization: `Bearer ${caller.token}` } }), 'invalid_token');
      }
    });

    test('a JWT of the same issuer passes', async () => {
      const caller = await openCaller(scene, CLIENTS.dpop);
      assert.match(caller.token, /\./);
      assertForwarded(scene, (await caller.send('GET', '/accounts')).status, { client: CLIENTS.dpop, binding: 'dpop', thumbprint: caller.jkt });
    });

    test('tokens that are revoked, for another resource, bound to nothing, or invented', async () => {
      const revoked = await openCaller(scene, CLIENTS.dpop, { resource });
      const { client_id, client_secret } = CLIENTS.dpop;
      const body = new URLSearchParams({ token: revoked.token, client_id, client_secret }).toString();
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      const done = await scene.fetch(`${scene.authority.issuer}/token/revocation`, { method: 'POST', headers, body });
      assert.equal(done.status, 200);
      const elsewhere = await openCaller(scene, CLIENTS.dpop, { resource: 'https://elsewhere.example/opaque' });
      const unbound = await openCaller(scene, CLIENTS.unbound, { algorithm: null, resource });
      const invented = { ...revoked, token: 'invented-by-somebody' };
      for (const { token, keyPair } of [revoked, elsewhere, unbound, invented]) {
        const proof = keyPair && (await generateProof(keyPair, accounts, 'GET', undefined, token));
        const authorization = `${keyPair ? 'DPoP' : 'Bearer'} ${token}`;
        const answer = await scene.fetch(accounts, { headers: { authorization, ...(proof && { dpop: proof }) } });
        assertRefused(scene, answer, 'invalid_token');
      }
    });
  });
}

test('an issuer that is slow, gone, and back', async () => {
  const scene = await openScene({ more: asking('json', { cache: '1h', timeout: '1500ms' }) });
  try {
    const [known, late, unknown] = await Promise.all([1, 2, 3].map(() => openCaller(scene, CLIENTS.dpop, { resource: opaqueAt(scene) })));
    const jwt = await openCaller(scene, CLIENTS.dpop);
    const status = async (caller) => (await caller.send('GET', '/accounts')).status;
    const refusal = async (caller) => {
      const answer = await caller.send('GET', '/accounts');
      assert.ok(Number(answer.headers.get('retry-after')) >= 1, 'it says when to come again');
      return [answer.status, (await answer.json()).reason];
    };
    assert.equal(await status(known), 200);
    assert.equal(await status(jwt), 200);

    scene.authority.think(5_000);
    assert.deepEqual(await refusal(late), [503, 'introspection_too_slow']);
    await scene.authority.goAway();
    assert.deepEqual(await refusal(unknown), [503, 'introspection_unreachable']);
    // What is known stays known, and what is signed needs nobody.
    assert.equal(await status(known), 200);
    assert.equal(await status(jwt), 200);

    scene.authority.think(0);
    await scene.authority.comeBack();
    const deadline = Date.now() + 60_000;
    for (const caller of [unknown, late]) {
      while ((await status(caller)) !== 200) {
        assert.ok(Date.now() < deadline, 'the gateway asks again');
        await delay(200);
      }
    }
    assert.equal(scene.upstream.requests.length, 6);
  } finally {
    await scene.close();
  }
});
