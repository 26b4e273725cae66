/**
 * A client that costs next to nothing, so that what is measured is the server: requests are bytes made beforehand, and of
 * a reply only status, length and body are looked at.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface HttpReply {
  readonly status: number
  readonly body: Buffer
}

export interface HttpConnection {
  /** One request at a time. Rejects when the server hangs up. */
  send(request: Buffer): Promise<HttpReply>
  close(): void
}

export function requestBytes(path: string, contentType: string, body: string | Uint8Array): Buffer {
  const content = Buffer.from(body)
  const head = `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: ${contentType}\r\ncontent-length: ${content.length}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), content])
}

export async function openConnection(url: string): Promise<HttpConnection> {
  const { hostname, port } = new URL(url)
  const socket: Socket = connect({ host: hostname, port: Number(port), noDelay: true })
  await once(socket, 'connect')
  let received: Buffer = Buffer.alloc(0)
  let waiting: { resolve(reply: HttpReply): void; reject(error: Error): void } | null = null
  const fail = (error: Error): void => waiting?.reject(error)
  socket.on('data', (data) => {
    received = received.length === 0 ? data : Buffer.concat([received, data])
    try {
      const reply = parseReply(received)
      if (reply === null) return
      received = Buffer.alloc(0)
      waiting?.resolve(reply)
    } catch (error) {
      fail(error as Error)
    }
  })
  socket.on('error', fail)
  socket.on('close', () => fail(new Error('the server hung up')))
  return {
    send: (request) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject }
        socket.write(request)
      }),
    close: () => socket.destroy(),
  }
}

/** Null while bytes are missing. Only replies with a content-length, as the server's are. */
function parseReply(bytes: Buffer): HttpReply | null {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return null
  const head = bytes.toString('latin1', 0, end)
  const length = /\r\ncontent-length: (\d+)/i.exec(head)
  if (length === null) throw new Error(`a reply without content-length: ${head}`)
  const from = end + 4
  const to = from + Number(length[1])
  return bytes.length < to ? null : { status: Number(head.slice(9, 12)), body: bytes.subarray(from, to) }
}
