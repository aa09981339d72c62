// The upstream: a plain HTTP server that keeps every request it is sent, whole. "Nothing reached the upstream" is said of this record.
import { once } from 'node:events';
import http from 'node:http';

/** Listens on a free loopback port. `requests` holds `{ method, url, headers, body }`, oldest first. */
export async function startUpstream() {
  const requests = [];
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { method, url, headers } = request;
    requests.push({ method, url, headers, body: Buffer.concat(chunks) });
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ seen: requests.length }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
