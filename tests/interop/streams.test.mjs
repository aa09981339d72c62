// What streams, by those who really do: npm ws as a WebSocket's two ends, npm @grpc/grpc-js as a client and a server, undici reading server-sent events.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, test } from 'node:test';

import grpc from '@grpc/grpc-js';
import { generateProof } from 'dpop';
import { WebSocket, WebSocketServer } from 'ws';

import { CLIENTS } from './authority.mjs';
import { openCaller } from './caller.mjs';
import { openScene } from './scene.mjs';

/** An upstream for HTTP/1.1: a WebSocket at `/live` that gives everything back, and events at `/events`, each when it is asked for. */
async function startWeb() {
  const handshakes = [];
  const listeners = new Set();
  const server = http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    listeners.add(response);
    response.on('close', () => listeners.delete(response));
  });
  const sockets = new WebSocketServer({ server, path: '/live' });
  sockets.on('connection', (socket, { headers }) => {
    handshakes.push(headers);
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    handshakes,
    listeners,
    say: (event) => listeners.forEach((response) => response.write(`data: ${event}\n\n`)),
    async close() {
      sockets.clients.forEach((socket) => socket.terminate());
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

const bytes = { requestSerialize: Buffer.from, requestDeserialize: Buffer.from, responseSerialize: Buffer.from, responseDeserialize: Buffer.from };
const method = (name, requestStream, responseStream) => ({ path: `/echo.Echo/${name}`, requestStream, responseStream, ...bytes });
const ECHO = {
  unary: method('Unary', false, false),
  fails: method('Fails', false, false),
  many: method('Many', false, true),
  talk: method('Talk', true, true),
};

/** A gRPC server without TLS. Each answer has trailers of its own. */
async function startRpc() {
  const seen = [];
  const trailers = () => {
    const metadata = new grpc.Metadata();
    metadata.set('x-checksum', 'c');
    metadata.set('dpop-nonce', 'theirs'); // none of its business
    return metadata;
  };
  const server = new grpc.Server();
  server.addService(ECHO, {
    unary(call, answer) {
      seen.push(call.metadata.getMap());
      answer(null, call.request, trailers());
    },
    fails(_, answer) {
      answer({ code: grpc.status.NOT_FOUND, details: 'no such thing', metadata: trailers() });
    },
    many(call) {
      for (const word of call.request.toString().split(' ')) call.write(Buffer.from(word));
      call.end(trailers());
    },
    talk(call) {
      call.on('data', (word) => call.write(Buffer.from(`re: ${word}`)));
      call.on('end', () => call.end(trailers()));
    },
  });
  const port = await new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port))),
  );
  return { url: `http://127.0.0.1:${port}`, seen, close: () => server.forceShutdown() };
}

const web = await startWeb();
after(() => web.close());
const rpc = await startRpc();
after(() => rpc.close());
const scene = await openScene({
  more: {
    upstreams: `  web: { servers: [${web.url}] }\n  rpc: { servers: [${rpc.url}], protocol: http2 }`,
    routes: `
  - name: live
    match: { path_prefix: /live }
    upstream: web
    require: { scopes: [accounts:read] }
    forward: { identity: headers, upgrade: [websocket], idle_timeout: 1h }
  - { name: events, match: { path_prefix: /events }, upstream: web, public: true, forward: { idle_timeout: 1h } }
  - name: rpc
    match: { path_prefix: /echo.Echo }
    upstream: rpc
    require: { scopes: [accounts:read] }
    forward: { identity: headers }`,
  },
});
after(() => scene.close());

const caller = await openCaller(scene, CLIENTS.dpop);
const ca = readFileSync(scene.ca.certificate);
/** The two headers of a request with a proof of its own. */
const credentials = async (verb, path) => {
  const url = new URL(path, scene.gateway.url).href;
  return { authorization: `DPoP ${caller.token}`, dpop: await generateProof(caller.keyPair, url, verb, undefined, caller.token) };
};
const live = scene.gateway.url.replace('https:', 'wss:') + '/live';

test('a WebSocket with a proof is open, both ways, and closes in order', async () => {
  const socket = new WebSocket(live, { ca, headers: await credentials('GET', '/live') });
  await once(socket, 'open');
  const [handshake] = web.handshakes.splice(0);
  assert.equal(handshake['x-auth-subject'], CLIENTS.dpop.client_id);
  assert.equal(handshake.authorization, undefined);
  for (const message of ['hello', 'x'.repeat(1 << 20), '']) {
    socket.send(message);
    const [data, isBinary] = await once(socket, 'message');
    assert.equal(data.toString(), message);
    assert.equal(isBinary, false);
  }
  socket.close(4000, 'enough');
  const [code, reason] = await once(socket, 'close');
  assert.deepEqual([code, reason.toString()], [4000, 'enough']);
});

test('a WebSocket without a proof, or with a used one, is a 401 and nothing upstream', async () => {
  const used = await credentials('GET', '/live');
  const first = new WebSocket(live, { ca, headers: used });
  await once(first, 'open');
  first.terminate();
  web.handshakes.splice(0);
  for (const headers of [{}, used]) {
    const socket = new WebSocket(live, { ca, headers });
    const [, response] = await once(socket, 'unexpected-response');
    assert.equal(response.statusCode, 401);
    assert.match(response.headers['www-authenticate'], /DPoP/);
    response.destroy();
  }
  assert.equal(web.handshakes.length, 0);
});

test('an event is read before the next is sent', async () => {
  const response = await scene.fetch(`${scene.gateway.url}/events`);
  assert.equal(response.headers.get('content-type'), 'text/event-stream');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (const event of ['one', 'two', 'three']) {
    web.say(event);
    assert.deepEqual(await reader.read(), { done: false, value: `data: ${event}\n\n` });
  }
  await reader.cancel();
  // Who leaves is not waited for at the upstream either.
  while (web.listeners.size > 0) await new Promise((resolve) => setTimeout(resolve, 20));
});

const Echo = grpc.makeGenericClientConstructor(ECHO, 'Echo');
const echo = new Echo(scene.gateway.url.replace('https://', ''), grpc.credentials.createSsl(ca));
after(() => echo.close());
/** Metadata for one call. */
const proven = async (name) => {
  const metadata = new grpc.Metadata();
  for (const [key, value] of Object.entries(await credentials('POST', `/echo.Echo/${name}`))) metadata.set(key, value);
  return metadata;
};
/** Everything that a stream of answers says, and its verdict. */
const heard = async (call) => {
  const words = [];
  call.on('data', (word) => words.push(word.toString()));
  const [status] = await once(call, 'status');
  return { words, code: status.code, trailers: status.metadata.getMap() };
};
/** A unary call, as one promise. */
const ask = (name, metadata, text) =>
  new Promise((resolve) => {
    let status;
    const call = echo[name](Buffer.from(text), metadata, { deadline: Date.now() + 20_000 }, (error, answer) =>
      setImmediate(() => resolve({ error, answer: answer?.toString(), trailers: status?.metadata.getMap() })),
    );
    call.on('status', (verdict) => (status = verdict));
  });

test('a unary gRPC call has its answer and its trailers', async () => {
  const { error, answer, trailers } = await ask('unary', await proven('Unary'), 'hello');
  assert.equal(error, null);
  assert.equal(answer, 'hello');
  assert.deepEqual([trailers['x-checksum'], trailers['dpop-nonce']], ['c', undefined]);
  const [arrived] = rpc.seen.splice(0);
  assert.equal(arrived['x-auth-subject'], CLIENTS.dpop.client_id);
  assert.equal(arrived.authorization, undefined);
});

test('a gRPC error is the one that the server gave', async () => {
  const { error, trailers } = await ask('fails', await proven('Fails'), '');
  assert.deepEqual([error.code, error.details], [grpc.status.NOT_FOUND, 'no such thing']);
  assert.equal(trailers['x-checksum'], 'c');
});

test('a stream of answers, and a conversation', async () => {
  const many = echo.many(Buffer.from('one two three'), await proven('Many'));
  assert.deepEqual(await heard(many), { words: ['one', 'two', 'three'], code: grpc.status.OK, trailers: { 'x-checksum': 'c' } });

  const talk = echo.talk(await proven('Talk'));
  for (const word of ['one', 'two', 'three']) {
    talk.write(Buffer.from(word));
    const [answer] = await once(talk, 'data');
    assert.equal(answer.toString(), `re: ${word}`);
  }
  talk.end();
  const { code, trailers } = await heard(talk);
  assert.deepEqual([code, trailers], [grpc.status.OK, { 'x-checksum': 'c' }]);
});

test('a gRPC call without a proof is UNAUTHENTICATED and does not arrive', async () => {
  rpc.seen.splice(0);
  const { error } = await ask('unary', new grpc.Metadata(), 'hello');
  assert.equal(error.code, grpc.status.UNAUTHENTICATED);
  assert.equal(rpc.seen.length, 0);
});
