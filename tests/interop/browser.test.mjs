// Chromium as the caller: a page of another origin with a non-extractable WebCrypto key, which gets its token and calls across origins.
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { chromium } from 'playwright-core';

import { CLIENTS } from './authority.mjs';
import { openScene } from './scene.mjs';
import { assertForwarded } from './verdict.mjs';

const listed = await startSite();
const foreign = await startSite();
const scene = await openScene({ pages: listed.origin });
const browser = await chromium.launch({
  executablePath: process.env.HOLDFAST_CHROMIUM ?? '/usr/bin/chromium',
  args: [
    // Containers run tests as root, under which Chromium has no sandbox. It visits nothing but the sites of this file.
    '--no-sandbox',
    // This run's servers and no other: their key, as Chromium wants it named.
    `--ignore-certificate-errors-spki-list=${spki(scene.server.certificate)}`,
  ],
});
after(async () => {
  await browser.close();
  await scene.close();
  for (const site of [listed, foreign]) await site.close();
});
beforeEach(() => scene.upstream.requests.splice(0));

const accounts = `${scene.gateway.url}/accounts`;
const page = await openPage(listed);

/** A server of pages on an origin of its own: an empty one, and the caller's script. Loopback is a secure context, so pages have WebCrypto. */
async function startSite() {
  const files = { '/': ['text/html', '<!doctype html><title>A page</title>'], '/page.mjs': ['text/javascript', readFileSync(new URL('page.mjs', import.meta.url))] };
  const server = http.createServer((request, response) => {
    const [type, text] = files[request.url] ?? ['text/plain', ''];
    response.setHeader('content-type', type);
    response.end(text);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async () => {
    server.closeAllConnections();
    await once(server.close(), 'close');
  };
  return { origin: `http://localhost:${server.address().port}`, close };
}

/** A page of `site` with a key and a token bound to it. `run` does one thing of page.mjs in it. */
async function openPage(site) {
  const tab = await browser.newPage();
  await tab.goto(site.origin);
  const { client_id, client_secret } = CLIENTS.dpop;
  const grant = { grant_type: 'client_credentials', client_id, client_secret, scope: 'accounts:read', resource: scene.gateway.url };
  const { jwk, secret } = await tab.evaluate(async ({ endpoint, grant }) => {
    window.caller = await import('/page.mjs');
    window.key = await caller.makeKey();
    window.token = await caller.getToken(key, endpoint, grant);
    const exported = (format) => crypto.subtle.exportKey(format, key.privateKey).then(() => format, () => null);
    return { jwk: key.jwk, secret: await Promise.all(['jwk', 'pkcs8'].map(exported)) };
  }, { endpoint: `${scene.authority.issuer}/token`, grant });
  assert.deepEqual(secret, [null, null], 'the key cannot be read');
  const { crv, kty, x, y } = jwk;
  const thumbprint = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
  return {
    identity: { client: CLIENTS.dpop, binding: 'dpop', thumbprint },
    call: (url, options) => tab.evaluate(({ url, options }) => caller.call(key, url, { token, ...options }), { url, options }),
    see: (url, init) => tab.evaluate(({ url, init }) => caller.see(url, init), { url, init }),
  };
}

/** The hash of a certificate's public key. */
function spki(certificate) {
  const { publicKey } = new X509Certificate(readFileSync(certificate));
  return createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64');
}

test('a page calls across origins with a key that it cannot read', async () => {
  const answer = await page.call(accounts);
  const arrived = assertForwarded(scene, answer.status, page.identity);
  assert.equal(arrived.headers.origin, listed.origin);
  assert.equal(JSON.parse(answer.body).seen, 1);
  assert.ok(answer.headers['x-request-id'] && answer.headers.date, 'what it needs to ask the operator, and to set its clock');
});

test('a method and a type of content that need a preflight', async () => {
  const body = JSON.stringify({ name: 'Alice' });
  const answer = await page.call(accounts, { method: 'PUT', headers: { 'content-type': 'application/json' }, body });
  const arrived = assertForwarded(scene, answer.status, page.identity);
  assert.deepEqual([arrived.method, arrived.body.toString()], ['PUT', body]);
});

test('a page reads the nonce from the refusal and goes on', async () => {
  const url = `${scene.gateway.url}/nonce`;
  const refused = await page.call(url);
  assert.equal(refused.status, 401, refused.blocked);
  assert.match(refused.headers['www-authenticate'], /^DPoP error="use_dpop_nonce"/);
  assert.equal(scene.upstream.requests.length, 0);
  const nonce = refused.headers['dpop-nonce'];
  assertForwarded(scene, (await page.call(url, { nonce })).status, page.identity);
});

test('a page reads why it is refused', async () => {
  const refused = await page.see(accounts);
  assert.equal(refused.status, 401, refused.blocked);
  assert.match(refused.headers['www-authenticate'], /^DPoP algs="[^"]*ES256/);
  assert.equal(JSON.parse(refused.body).reason, 'credentials_missing');
  assert.equal(scene.upstream.requests.length, 0);
});

test('a header that the route does not list is not sent', async () => {
  assert.match((await page.call(accounts, { headers: { 'x-other': '1' } })).blocked, /Failed to fetch/);
  assert.equal(scene.upstream.requests.length, 0);
});

test('a route without cors is closed to pages', async () => {
  assert.match((await page.call(`${scene.gateway.url}/both`)).blocked, /Failed to fetch/);
  assert.equal(scene.upstream.requests.length, 0);
});

test('a page of an origin that is not listed gets nothing through, with a good token and a good key', async () => {
  const stranger = await openPage(foreign);
  assert.match((await stranger.call(accounts)).blocked, /Failed to fetch/);
  // Lines of the log are written a few together, so this one may be a moment behind its answer.
  for (let turn = 0; turn < 200 && !scene.gateway.said().includes('"reason":"origin_refused"'); turn += 1) await delay(10);
  assert.match(scene.gateway.said(), /"reason":"origin_refused"/);
  assert.equal(scene.upstream.requests.length, 0);
  // Without a preflight the request is sent, for CORS shuts nothing; it is refused for want of a token, and the page may not even read that.
  assert.match((await stranger.see(accounts)).blocked, /Failed to fetch/);
  assert.equal(scene.upstream.requests.length, 0);
});
