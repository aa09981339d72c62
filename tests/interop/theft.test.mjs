// What a thief can do with a captured token, proof or request of a real caller: nothing. Proofs here are made by npm dpop.
import { after, beforeEach, test } from 'node:test';

import { generateKeyPair, generateProof } from 'dpop';

import { CLIENTS, startAuthority } from './authority.mjs';
import { openCaller } from './caller.mjs';
import { openScene } from './scene.mjs';
import { assertForwarded, assertRefused } from './verdict.mjs';

const scene = await openScene();
after(() => scene.close());
beforeEach(() => scene.upstream.requests.splice(0));

const victim = await openCaller(scene, CLIENTS.dpop);
const identity = { client: CLIENTS.dpop, binding: 'dpop', thumbprint: victim.jkt };
const accounts = `${scene.gateway.url}/accounts`;

const proofFor = (keyPair, token, url = accounts, method = 'GET') => generateProof(keyPair, url, method, undefined, token);
const send = (url, authorization, proof, method = 'GET') =>
  scene.fetch(url, { method, headers: { ...(authorization && { authorization }), ...(proof && { dpop: proof }) } });

test('the captured request passes once and not again', async () => {
  const proof = await proofFor(victim.keyPair, victim.token);
  assertForwarded(scene, (await send(accounts, `DPoP ${victim.token}`, proof)).status, identity);
  scene.upstream.requests.splice(0);
  assertRefused(scene, await send(accounts, `DPoP ${victim.token}`, proof), 'invalid_dpop_proof');
});

test('sixteen copies of one request at once: exactly one passes', async () => {
  const proof = await proofFor(victim.keyPair, victim.token);
  const answers = await Promise.all(Array.from({ length: 16 }, () => send(accounts, `DPoP ${victim.token}`, proof)));
  const passed = answers.filter(({ status }) => status === 200);
  assertForwarded(scene, passed[0]?.status, identity);
  scene.upstream.requests.splice(0);
  for (const answer of answers) if (!passed.includes(answer)) assertRefused(scene, answer, 'invalid_dpop_proof');
});

test("a stolen token with the thief's own key", async () => {
  const proof = await proofFor(await generateKeyPair('ES256'), victim.token);
  assertRefused(scene, await send(accounts, `DPoP ${victim.token}`, proof), 'invalid_token');
});

test('a stolen token as Bearer, with and without a captured proof', async () => {
  assertRefused(scene, await send(accounts, `Bearer ${victim.token}`), 'invalid_token');
  const proof = await proofFor(victim.keyPair, victim.token);
  assertRefused(scene, await send(accounts, `Bearer ${victim.token}`, proof), 'invalid_token');
});

test('a stolen token without a proof', async () => {
  assertRefused(scene, await send(accounts, `DPoP ${victim.token}`), 'invalid_dpop_proof');
});

test('a captured proof on another URL, with another method, with another token', async () => {
  const other = await openCaller(scene, CLIENTS.dpop);
  const proof = await proofFor(victim.keyPair, victim.token);
  assertRefused(scene, await send(`${accounts}/2`, `DPoP ${victim.token}`, proof), 'invalid_dpop_proof');
  assertRefused(scene, await send(accounts, `DPoP ${victim.token}`, proof, 'DELETE'), 'invalid_dpop_proof');
  const forTheOther = await proofFor(victim.keyPair, other.token);
  assertRefused(scene, await send(accounts, `DPoP ${victim.token}`, forTheOther), 'invalid_dpop_proof');
});

test('a token that is bound to nothing', async () => {
  const { token } = await openCaller(scene, CLIENTS.unbound, { algorithm: null });
  assertRefused(scene, await send(accounts, `Bearer ${token}`), 'invalid_token');
  assertRefused(scene, await send(accounts, `DPoP ${token}`, await proofFor(victim.keyPair, token)), 'invalid_token');
});

test('a token for another resource', async () => {
  const elsewhere = await openCaller(scene, CLIENTS.dpop, { resource: 'https://elsewhere.example' });
  const proof = await proofFor(elsewhere.keyPair, elsewhere.token);
  assertRefused(scene, await send(accounts, `DPoP ${elsewhere.token}`, proof), 'invalid_token');
});

test('a token of an authorization server that nobody here trusts', async () => {
  const stranger = await startAuthority(scene.issue('localhost', 'server'));
  try {
    const caller = await openCaller({ ...scene, authority: stranger }, CLIENTS.dpop);
    const proof = await proofFor(caller.keyPair, caller.token);
    assertRefused(scene, await send(accounts, `DPoP ${caller.token}`, proof), 'invalid_token');
  } finally {
    await stranger.close();
  }
});

test('a token bound to a key and a certificate, with the key alone and with another certificate', async () => {
  const caller = await openCaller(scene, CLIENTS.both, { certificate: scene.issue('victim', 'client') });
  const both = `${scene.gateway.url}/both`;
  const thief = scene.fetchWith(scene.issue('thief', 'client'));
  for (const fetch of [scene.fetch, thief]) {
    const headers = { authorization: `DPoP ${caller.token}`, dpop: await proofFor(caller.keyPair, caller.token, both) };
    assertRefused(scene, await fetch(both, { headers }), 'invalid_token');
  }
});
