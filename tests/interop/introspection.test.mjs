// Opaque tokens of oidc-provider: the gateway asks it what they are worth, and is answered in JSON, in a signed JWT, and in an encrypted one (RFC 9701).
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';

import { generateKeyPair, generateProof } from 'dpop';

import { CLIENTS, GATEWAYS } from './authority.mjs';
import { openCaller } from './caller.mjs';
import { thumbprintOf } from './certificates.mjs';
import { openScene } from './scene.mjs';
import { assertForwarded, assertRefused } from './verdict.mjs';

/** The settings of the issuer for one way of asking. Nothing is remembered, so that every request asks. */
const asking = (form) => ({ authority, folder }) => {
  const { client_id, client_secret } = GATEWAYS[form];
  writeFileSync(join(folder, 'client-secret'), client_secret ?? '');
  writeFileSync(join(folder, 'gateway-key.pem'), authority.gatewayKey);
  const shown = client_secret
    ? 'client_secret: { file: client-secret }'
    : `authentication: private_key_jwt
      client_key: { file: gateway-key.pem }
      client_key_id: sig-1
      answer: ${form === 'jwt' ? 'jwt' : 'encrypted-jwt'}`;
  const encryption = 'encryption: { keys: [{ key: { file: gateway-key.pem }, id: enc-1 }], tokens: optional }';
  return {
    issuer: `    introspection:
      client_id: ${client_id}
      cache: 0s
      cache_inactive: 0s
      ${shown}
    ${form === 'encrypted' ? encryption : ''}`,
  };
};

for (const form of ['json', 'jwt', 'encrypted']) {
  describe(`answered in ${form}`, async () => {
    const scene = await openScene({ more: asking(form) });
    after(() => scene.close());
    beforeEach(() => scene.upstream.requests.splice(0));
    const accounts = `${scene.gateway.url}/accounts`;
    const resource = `${scene.gateway.url}/opaque`;

    /** As `assertForwarded`; oidc-provider tells no `sub` of a client's own token. */
    const forwarded = (status, client, binding, thumbprint) => {
      assert.equal(scene.upstream.requests[0]?.headers['x-auth-subject'], undefined);
      Object.assign(scene.upstream.requests[0]?.headers ?? {}, { 'x-auth-subject': client.client_id });
      assertForwarded(scene, status, { client, binding, thumbprint });
    };

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
