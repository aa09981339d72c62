// The caller's token exchanged at oidc-provider for one of the upstream's (RFC 8693), which the upstream verifies by itself.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';

import { decodeJwt, decodeProtectedHeader, importJWK, jwtVerify } from 'jose';

import { CLIENTS, GATEWAYS } from './authority.mjs';
import { openCaller } from './caller.mjs';
import { LEDGER } from './exchange.mjs';
import { openScene } from './scene.mjs';
import { assertRefused } from './verdict.mjs';

/** Routes for a target that the provider knows and for one that it does not, and the gateway as a client with a secret or a key. */
const exchanging = (form) => ({ authority, folder }) => {
  const { client_id, client_secret } = GATEWAYS[form];
  writeFileSync(join(folder, 'client-secret'), client_secret ?? '');
  writeFileSync(join(folder, 'gateway-key.pem'), authority.gatewayKey);
  const shown = client_secret
    ? 'client_secret: { file: client-secret }'
    : `authentication: private_key_jwt
      client_key: { file: gateway-key.pem }
      client_key_id: sig-1`;
  const route = (name, resource) => `  - name: ${name}
    match: { path_prefix: /${name} }
    upstream: accounts
    forward: { credentials: exchange, exchange: { resource: '${resource}', scopes: [accounts:read] } }
`;
  return {
    issuer: `    exchange:
      client_id: ${client_id}
      ${shown}
    introspection:
      client_id: ${client_id}
      ${shown}
      ${client_secret ? '' : 'answer: jwt'}`,
    routes: route('ledger', LEDGER) + route('elsewhere', 'https://elsewhere.internal/'),
  };
};

for (const form of ['json', 'jwt']) {
  describe(`the gateway as ${GATEWAYS[form].client_id}`, async () => {
    const scene = await openScene({ more: exchanging(form) });
    after(() => scene.close());
    beforeEach(() => {
      scene.upstream.requests.splice(0);
      scene.authority.exchanges.splice(0);
    });

    /** The one request that arrived carries a token for the upstream, of this client's. Gives the token. */
    const assertExchanged = async (status, caller, client) => {
      assert.equal(status, 200, `status ${status}; the gateway said:\n${scene.gateway.said()}`);
      const [{ headers }] = scene.upstream.requests.splice(0);
      assert.equal(headers.dpop, undefined, 'the proof stays at the gateway');
      const [scheme, token] = headers.authorization.split(' ');
      assert.equal(scheme, 'Bearer');
      assert.notEqual(token, caller.token);
      const { keys } = await (await scene.fetch(`${scene.authority.issuer}/jwks`)).json();
      const { kid } = decodeProtectedHeader(token);
      const key = await importJWK(keys.find((one) => one.kid === kid));
      const { payload } = await jwtVerify(token, key, { issuer: scene.authority.issuer, audience: LEDGER, typ: 'at+jwt' });
      assert.equal(payload.sub, client.client_id, 'it is the caller\'s still');
      assert.equal(payload.act.sub, GATEWAYS[form].client_id);
      assert.equal(payload.scope, 'accounts:read');
      assert.equal(payload.cnf, undefined, 'the upstream can use it');
      return token;
    };

    test('a token bound to a key becomes one of the upstream, once', async () => {
      const caller = await openCaller(scene, CLIENTS.dpop);
      const first = await assertExchanged((await caller.send('GET', '/ledger')).status, caller, CLIENTS.dpop);
      const second = await assertExchanged((await caller.send('POST', '/ledger/7', 'body')).status, caller, CLIENTS.dpop);
      assert.equal(second, first);
      assert.equal(scene.authority.exchanges.length, 1);
      const [{ client, subject_token, resource }] = scene.authority.exchanges;
      assert.deepEqual({ client, subject_token, resource }, { client: GATEWAYS[form].client_id, subject_token: caller.token, resource: LEDGER });
      // Its audience is the upstream: at the gateway it is nothing.
      assert.equal(decodeJwt(first).aud, LEDGER);
      const shown = await scene.fetch(`${scene.gateway.url}/ledger`, { headers: { authorization: `Bearer ${first}` } });
      assertRefused(scene, shown, 'invalid_token');
    });

    test('so does one bound to a certificate, and an opaque one', async () => {
      const certificate = scene.issue(`holder-${form}`, 'client');
      const bound = await openCaller(scene, CLIENTS.mtls, { algorithm: null, certificate });
      await assertExchanged((await bound.send('GET', '/ledger')).status, bound, CLIENTS.mtls);
      const opaque = await openCaller(scene, CLIENTS.dpop, { resource: `${scene.gateway.url}/opaque` });
      assert.doesNotMatch(opaque.token, /\./, 'it is opaque');
      await assertExchanged((await opaque.send('GET', '/ledger')).status, opaque, CLIENTS.dpop);
    });

    test('a thief causes no question', async () => {
      const caller = await openCaller(scene, CLIENTS.dpop);
      const stolen = await scene.fetch(`${scene.gateway.url}/ledger`, { headers: { authorization: `Bearer ${caller.token}` } });
      assertRefused(scene, stolen, 'invalid_token');
      assert.equal(scene.authority.exchanges.length, 0);
    });

    test('a target that the provider does not know, and a token that it has revoked', async () => {
      const caller = await openCaller(scene, CLIENTS.dpop);
      const refused = await caller.send('GET', '/elsewhere');
      assert.equal(refused.status, 403);
      assert.match(await refused.text(), /exchange_denied/);
      const revoked = await openCaller(scene, CLIENTS.dpop, { resource: `${scene.gateway.url}/opaque` });
      // Asked about while it was good, and that answer holds for a while.
      assert.equal((await revoked.send('GET', '/accounts')).status, 200);
      scene.upstream.requests.splice(0);
      const { client_id, client_secret } = CLIENTS.dpop;
      const body = new URLSearchParams({ token: revoked.token, client_id, client_secret }).toString();
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      assert.equal((await scene.fetch(`${scene.authority.issuer}/token/revocation`, { method: 'POST', headers, body })).status, 200);
      await assert.rejects(revoked.send('GET', '/ledger'), ({ cause }) => {
        assert.match(JSON.stringify(cause), /exchange_token_refused/);
        return true;
      });
      assert.equal(scene.upstream.requests.length, 0);
    });

    test('without the provider, what was exchanged goes on and nothing else does', async () => {
      const [known, unknown] = [await openCaller(scene, CLIENTS.dpop), await openCaller(scene, CLIENTS.dpop)];
      const token = await assertExchanged((await known.send('GET', '/ledger')).status, known, CLIENTS.dpop);
      await scene.authority.goAway();
      const refused = await unknown.send('GET', '/ledger');
      assert.equal(refused.status, 503);
      assert.match(await refused.text(), /exchange_unreachable/);
      assert.equal(scene.upstream.requests.length, 0);
      assert.equal((await known.send('GET', '/ledger')).status, 200);
      assert.equal(scene.upstream.requests[0].headers.authorization, `Bearer ${token}`);
    });
  });
}
