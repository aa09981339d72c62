// The Model Context Protocol by those who wrote it: npm @modelcontextprotocol/sdk (revisions up to 2025-11-25) and its successors /client, /server and /node
// (2026-07-28), at both ends of the gateway. None of them knows DPoP; a `fetch` around theirs proves the key, as SEP-1932 has it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { after, test } from 'node:test';

import { Client as NewClient, StreamableHTTPClientTransport as NewTransport } from '@modelcontextprotocol/client';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { ClientCredentialsProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createMcpHandler, McpServer as NewServer } from '@modelcontextprotocol/server';
import { generateKeyPair, generateProof } from 'dpop';
import { z } from 'zod';

import { CLIENTS } from './authority.mjs';
import { SCOPE, openCaller } from './caller.mjs';
import { openScene } from './scene.mjs';

// The test's clock. What a gateway counts in minutes it counts in seconds here: MINUTE stands for the sixty seconds of `limits.idle_timeout`, after which it lets go of a body
// that is silent, and of the sixty after which the SDK's client gives a request up. A stream of three of these, silent for one and a half, outlasts both as one of three
// minutes would, since nothing in between knows another unit; with the times as they are by default the test would take as long and show the same.
const MINUTE = 1_000;
const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));

const arrived = [];
const called = [];

async function listening(handler) {
  const server = http.createServer((request, response) => {
    arrived.push({ method: request.method, headers: request.headers });
    handler(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  after(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** A server as the SDK's examples have it: a transport for each session, one tool that answers, and one that takes its time and says so. */
async function startServer() {
  const sessions = new Map();
  return listening(async (request, response) => {
    const known = sessions.get(request.headers['mcp-session-id']);
    if (known) return known.handleRequest(request, response);
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => sessions.set(id, transport),
    });
    const server = new McpServer({ name: 'tools', version: '1' });
    server.registerTool('greet', { description: 'greets', inputSchema: { name: z.string() } }, async ({ name }) => {
      called.push('greet');
      return { content: [{ type: 'text', text: `hello ${name}` }] };
    });
    server.registerTool('dig', { description: 'takes its time', inputSchema: {} }, async (_, { _meta, sendNotification }) => {
      const tell = (progress) => sendNotification({ method: 'notifications/progress', params: { progressToken: _meta.progressToken, progress, total: 6 } });
      for (let step = 1; step <= 6; step++) {
        // Silence of a minute and a half in the middle; before and behind it a word every quarter of one.
        await wait(step === 4 ? 1.5 * MINUTE : MINUTE / 3);
        await tell(step);
      }
      return { content: [{ type: 'text', text: 'dug' }] };
    });
    await server.connect(transport);
    await transport.handleRequest(request, response);
  });
}

/** A server of the revision in which headers repeat the body, and of older ones beside it, which is what it does by default. */
async function startNewServer() {
  const handler = createMcpHandler(() => {
    const server = new NewServer({ name: 'tools', version: '2' });
    for (const name of ['search', 'größe', 'drop', 'transfer']) {
      server.registerTool(name, { description: name, inputSchema: z.object({}) }, async () => {
        called.push(name);
        return { content: [{ type: 'text', text: name }] };
      });
    }
    return server;
  });
  return listening(toNodeHandler(handler));
}

const [old, recent] = [await startServer(), await startNewServer()];
const scene = await openScene({
  more: {
    audiences: ['/mcp', '/calls'],
    upstreams: `  old: { servers: [${old}] }\n  recent: { servers: [${recent}] }`,
    routes: `
  - name: mcp
    profile: mcp
    match: { path: /mcp }
    upstream: old
    require: { scopes: [accounts:read] }
  - name: hasty
    match: { path: /hasty }
    upstream: old
  - name: calls
    profile: mcp
    match: { path: /calls, methods: [POST] }
    upstream: recent
    require:
      mcp:
        allow:
          - { methods: [server/discover, tools/list] }
          - { methods: [tools/call], names: [search, größe] }
          - { methods: [tools/call], names: [transfer], scopes: ["accounts:write"] }`,
    limits: `limits: { idle_timeout: ${MINUTE}ms }`,
  },
});
after(() => scene.close());
const at = (path) => new URL(path, scene.gateway.url);

/** A `fetch` that holds a key: each request has a proof, to the authorization server, which demands nonces, and with a token to the gateway. */
function holding(keyPair, nonces = new Map()) {
  return async function prove(url, init = {}, again = false) {
    const headers = new Headers(init.headers);
    const target = new URL(url);
    const token = headers.get('authorization')?.match(/^Bearer (.*)/)?.[1];
    const htu = target.origin + target.pathname;
    headers.set('dpop', await generateProof(keyPair, htu, init.method ?? 'GET', nonces.get(target.origin), token));
    if (token) headers.set('authorization', `DPoP ${token}`);
    const response = await scene.fetch(url, { ...init, headers });
    const nonce = response.headers.get('dpop-nonce');
    if (nonce) nonces.set(target.origin, nonce);
    if (nonce && !again && [400, 401].includes(response.status)) return prove(url, init, true);
    return response;
  };
}

/** A caller whose token is fetched before, for `path`. */
async function bearing(path) {
  const { keyPair, token } = await openCaller(scene, CLIENTS.dpop, { resource: at(path).href });
  return { token, fetch: holding(keyPair), requestInit: { headers: { authorization: `Bearer ${token}` } } };
}

/** The SDK's client, connected; `options` are its transport's. */
async function connect(path, options) {
  const client = new Client({ name: 'test', version: '1' });
  const transport = new StreamableHTTPClientTransport(at(path), options);
  await client.connect(transport);
  after(() => client.close());
  return client;
}

test('the SDK finds metadata and authorization server by itself, from nothing but a 401', async () => {
  arrived.splice(0);
  const keyPair = await generateKeyPair('ES256');
  const asked = [];
  const proving = holding(keyPair);
  const fetch = (url, init) => {
    asked.push(`${init?.method ?? 'GET'} ${url}`);
    return proving(url, init);
  };
  const { client_id: clientId, client_secret: clientSecret } = CLIENTS.mcp;
  const authProvider = new ClientCredentialsProvider({ clientId, clientSecret, scope: SCOPE });
  const client = await connect('/mcp', { authProvider, fetch });
  const { tools } = await client.listTools();
  assert.deepEqual(tools.map((tool) => tool.name), ['greet', 'dig']);
  assert.equal(asked[0], `POST ${at('/mcp')}`);
  assert.ok(asked.includes(`GET ${at('/.well-known/oauth-protected-resource/mcp')}`), asked.join('\n'));
  assert.ok(asked.some((one) => one.startsWith(`GET ${scene.authority.issuer}/.well-known/`)), asked.join('\n'));
  assert.ok(asked.includes(`POST ${scene.authority.issuer}/token`), asked.join('\n'));
  assert.equal(authProvider.tokens().token_type, 'DPoP');
  for (const { headers } of arrived) assert.deepEqual([headers.authorization, headers.dpop], [undefined, undefined]);
});

test('tools are listed and called, and nothing of the token reaches the server', async () => {
  arrived.splice(0);
  const client = await connect('/mcp', await bearing('/mcp'));
  const { content } = await client.callTool({ name: 'greet', arguments: { name: 'you' } });
  assert.deepEqual(content, [{ type: 'text', text: 'hello you' }]);
  assert.ok(arrived.length >= 3);
  for (const { headers } of arrived) assert.deepEqual([headers.authorization, headers.dpop], [undefined, undefined]);
});

test('a stream with progress outlasts a minute of the gateway and of the client', async () => {
  const client = await connect('/mcp', await bearing('/mcp'));
  const heard = [];
  const begun = Date.now();
  const { content } = await client.callTool({ name: 'dig', arguments: {} }, undefined, {
    // The SDK's default is a minute too; a word of progress begins it anew, and the silence in the middle needs two.
    timeout: 2 * MINUTE,
    resetTimeoutOnProgress: true,
    onprogress: ({ progress }) => heard.push([progress, Date.now() - begun]),
  });
  assert.deepEqual(content, [{ type: 'text', text: 'dug' }]);
  assert.deepEqual(heard.map(([progress]) => progress), [1, 2, 3, 4, 5, 6]);
  assert.ok(Date.now() - begun > 2.5 * MINUTE);
  // Each word came when it was said and not with the last: nothing was kept back.
  assert.ok(heard[0][1] < heard[3][1] - MINUTE, JSON.stringify(heard));
});

test('without the preset the same silence is the end of the stream', async () => {
  const { token, keyPair } = await openCaller(scene, CLIENTS.dpop);
  const fetch = holding(keyPair);
  const client = new Client({ name: 'test', version: '1' });
  const reconnectionOptions = { initialReconnectionDelay: 1, maxReconnectionDelay: 1, reconnectionDelayGrowFactor: 1, maxRetries: 0 };
  await client.connect(new StreamableHTTPClientTransport(at('/hasty'), { fetch, requestInit: { headers: { authorization: `Bearer ${token}` } }, reconnectionOptions }));
  after(() => client.close());
  await assert.rejects(client.callTool({ name: 'dig', arguments: {} }, undefined, { timeout: 4 * MINUTE, onprogress: () => {} }));
});

test('a stolen token without its key is refused, and the server hears nothing', async () => {
  const { token } = await bearing('/mcp');
  const thiefs = await generateKeyPair('ES256');
  arrived.splice(0);
  const ways = [
    (url, init) => scene.fetch(url, init),
    holding(thiefs),
  ];
  for (const fetch of ways) {
    await assert.rejects(connect('/mcp', { fetch, requestInit: { headers: { authorization: `Bearer ${token}` } } }), (error) => error.code === 401 || /401|[Uu]nauthorized/.test(error.message));
  }
  // A token for another resource of the same authorization server is none for this one.
  const elsewhere = await openCaller(scene, CLIENTS.dpop, { resource: 'https://other.example.com/mcp' });
  const fetch = holding(elsewhere.keyPair);
  await assert.rejects(connect('/mcp', { fetch, requestInit: { headers: { authorization: `Bearer ${elsewhere.token}` } } }));
  assert.equal(arrived.length, 0);
});

test('a page is refused, with the right token and proof', async () => {
  const { token, fetch } = await bearing('/mcp');
  arrived.splice(0);
  for (const origin of ['https://evil.example', 'null', scene.gateway.url]) {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream', origin };
    const response = await fetch(at('/mcp'), { method: 'POST', headers, body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' });
    assert.equal(response.status, 403);
    assert.equal((await response.json()).reason, 'origin_unlisted');
  }
  assert.equal(arrived.length, 0);
});

/** The client of 2026-07-28, connected to `/calls`. */
async function connectNew() {
  const { fetch, requestInit } = await bearing('/calls');
  const client = new NewClient({ name: 'test', version: '2' }, { versionNegotiation: { mode: { pin: '2026-07-28' } } });
  await client.connect(new NewTransport(at('/calls'), { fetch, requestInit }));
  after(() => client.close());
  return client;
}

test('calls of revision 2026-07-28 are let through by their names', async () => {
  const client = await connectNew();
  arrived.splice(0);
  called.splice(0);
  const { tools } = await client.listTools();
  assert.equal(tools.length, 4);
  for (const name of ['search', 'größe']) assert.equal((await client.callTool({ name, arguments: {} })).content[0].text, name);
  const [listed, searched, sized] = arrived.map(({ headers }) => headers);
  assert.deepEqual([listed['mcp-method'], searched['mcp-name'], sized['mcp-name']], ['tools/list', 'search', '=?base64?Z3LDtsOfZQ==?=']);
  await assert.rejects(client.callTool({ name: 'drop', arguments: {} }));
  await assert.rejects(client.callTool({ name: 'transfer', arguments: {} }));
  assert.deepEqual(called, ['search', 'größe']);
  assert.equal(arrived.length, 3);
});

test('what is said of a body that is another, the server refuses: what the policy relies on', async () => {
  const { token, fetch } = await bearing('/calls');
  const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientInfo': { name: 'a', version: '1' }, 'io.modelcontextprotocol/clientCapabilities': {} };
  const drop = (more) => ({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'drop', arguments: {}, ...more } });
  const listing = { 'mcp-method': 'tools/list' };
  const searching = { 'mcp-method': 'tools/call', 'mcp-name': 'search' };
  const initialize = { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'a', version: '1' } } };
  const send = async (body, headers) => {
    const all = { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2026-07-28', ...headers };
    const response = await fetch(at('/calls'), { method: 'POST', headers: all, body: JSON.stringify(body) });
    return [response.status, JSON.parse(await response.text()).reason];
  };
  called.splice(0);
  arrived.splice(0);
  const lies = [
    [drop({ _meta: meta }), listing],
    [drop({ _meta: meta }), searching],
    // A body of an older revision, a batch of these, and of the new one, under headers of the new one.
    [drop({}), listing],
    [[drop({})], listing],
    [[drop({ _meta: meta })], searching],
    [initialize, listing],
    [{ jsonrpc: '2.0', method: 'tools/call', params: { name: 'drop' } }, listing],
  ];
  for (const [body, headers] of lies) assert.deepEqual(await send(body, headers), [400, undefined], JSON.stringify(body));
  assert.equal(arrived.length, lies.length);
  arrived.splice(0);
  // And where nobody would compare, it does not come so far.
  for (const version of ['2025-11-25', '2025-03-26', '']) {
    assert.deepEqual(await send(drop({}), { ...searching, 'mcp-protocol-version': version }), [400, 'mcp_version']);
  }
  assert.deepEqual([called, arrived], [[], []]);
  // The lies aside, it is a call like any other.
  assert.equal((await send({ ...drop({ _meta: meta }), params: { name: 'search', arguments: {}, _meta: meta } }, searching))[0], 200);
  assert.deepEqual(called, ['search']);
});
