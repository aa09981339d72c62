//! The cases of h2spec (github.com/summerwind/h2spec, its `http2`, `hpack` and `generic` lists) with frames written by hand: the tool is a Go
//! program that no package registry of ours has. Names are h2spec's sections, which are those of RFC 7540; RFC 9113 has the same rules.

use crate::h2frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Heard, PADDED, PING, PREFACE,
    PRIORITY, PUSH_PROMISE, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, block, frame, get, post,
    request,
};
use crate::house::{HOST, House};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;

/// What has to come of it.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// The connection goes on: a ping behind it is answered.
    Lives,
    /// The connection goes on, and stream 1 has its answer.
    Answered,
    /// The connection ends, with one of these codes or without a word.
    Ends(&'static [u32]),
    /// Stream 1, or the last one, is reset with one of these codes, or the connection ends with it.
    Resets(&'static [u32]),
}

use Want::{Answered, Ends, Lives, Resets};

const MARK: [u8; 8] = *b"the mark";

/// Sends what a case has, and a ping behind it.
async fn judge(house: &House, what: &str, bytes: &[u8], want: Want) -> Result<(), String> {
    let mut raw = Raw::connect(house).await.expect("a handshake");
    raw.send(&[bytes, &frame(PING, 0, 0, &MARK)].concat()).await;
    let heard = raw
        .hear(|heard| {
            let passed = heard.pings.contains(&MARK);
            match want {
                Lives => passed,
                Answered => passed && !heard.answered.is_empty(),
                // A request that was answered is none that was refused.
                Ends(_) => passed && !heard.answered.is_empty(),
                Resets(_) => {
                    !heard.resets.is_empty()
                        || heard.goaway.is_some()
                        || (passed && !heard.answered.is_empty())
                }
            }
        })
        .await;
    let Heard { goaway, resets, closed, .. } = &heard;
    // RFC 9113 §5.4: an endpoint may end more than it has to; §7: and with the general code, which hyper's h2 mostly takes.
    let fits = |codes: &[u32], code: u32| codes.contains(&code) || code == PROTOCOL_ERROR;
    let right = match want {
        Lives | Answered => !closed && goaway.is_none(),
        Ends(codes) => *closed && goaway.is_none_or(|code| fits(codes, code)),
        Resets(codes) => {
            resets.iter().any(|(_, code)| fits(codes, *code)) || goaway.is_some_and(|code| fits(codes, code))
        }
    };
    if right { Ok(()) } else { Err(format!("{what}: {want:?}, and there came {heard:?}")) }
}

async fn judge_all(cases: Vec<(&str, Vec<u8>, Want)>) {
    let house = House::usual().await;
    let mut wrong = Vec::new();
    for (what, bytes, want) in cases {
        if let Err(deviation) = judge(&house, what, &[PREFACE, &bytes].concat(), want).await {
            wrong.push(deviation);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(house.seen().iter().all(|seen| seen.method == "GET" || seen.method == "POST"));
}

/// A GET of these fields on stream 1, end and all.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))
}

#[tokio::test(flavor = "multi_thread")]
async fn preface_and_frames() {
    let house = House::usual().await;
    judge(&house, "3.5 invalid preface", b"INVALID CONNECTION PREFACE\r\n\r\n", Ends(&[PROTOCOL_ERROR]))
        .await
        .expect("an end");
    let big = vec![0; 16_385];
    let mut reserved = frame(PING, 0, 0, &[7; 8]);
    reserved[5] |= 0x80;
    judge_all(vec![
        ("3.5 preface", get(1), Answered),
        ("4.1 unknown type", frame(0x16, 0, 0, &[0; 8]), Lives),
        ("4.1 undefined flags", frame(PING, 0x16, 0, &[1; 8]), Lives),
        ("4.1 reserved bit", reserved, Lives),
        ("4.2 DATA of 2^14", [post(1), frame(DATA, END_STREAM, 1, &big[..16_384])].concat(), Answered),
        (
            "4.2 DATA too large",
            [post(1), frame(DATA, END_STREAM, 1, &big)].concat(),
            Resets(&[FRAME_SIZE_ERROR]),
        ),
        ("4.2 HEADERS too large", frame(HEADERS, 5, 1, &big), Ends(&[FRAME_SIZE_ERROR])),
        ("4.3 invalid block", frame(HEADERS, 5, 1, &[0x40]), Ends(&[COMPRESSION_ERROR])),
        (
            "4.3 PRIORITY inside a block",
            [frame(HEADERS, END_STREAM, 1, &request("GET", &[])), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255])]
                .concat(),
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "4.3 another HEADERS inside a block",
            [frame(HEADERS, END_STREAM, 1, &request("GET", &[])), get(3)].concat(),
            Ends(&[PROTOCOL_ERROR]),
        ),
        ("5.5 unknown frame", frame(0xff, 0xff, 0, &[0; 8]), Lives),
        (
            "5.5 unknown frame inside a block",
            [frame(HEADERS, END_STREAM, 1, &request("GET", &[])), frame(0xff, 0, 0, &[0; 8])].concat(),
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "7 unknown code in GOAWAY",
            [get(1), frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 255])].concat(),
            Answered,
        ),
        ("7 unknown code in RST_STREAM", [post(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 255])].concat(), Lives),
        ("8.2 PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), Ends(&[PROTOCOL_ERROR])),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_of_streams() {
    let closed: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];
    let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    let many = (0..400).flat_map(|at| post(2 * at + 1)).collect::<Vec<u8>>();
    let itself = [&[0, 0, 0, 1, 255][..], &request("GET", &[])].concat();
    judge_all(vec![
        ("5.1 idle: DATA", frame(DATA, END_STREAM, 1, b"x"), Ends(&[PROTOCOL_ERROR])),
        ("5.1 idle: RST_STREAM", reset.clone(), Ends(&[PROTOCOL_ERROR])),
        ("5.1 idle: WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100]), Ends(&[PROTOCOL_ERROR])),
        (
            "5.1 idle: CONTINUATION",
            frame(CONTINUATION, END_HEADERS, 1, &request("GET", &[])),
            Ends(&[PROTOCOL_ERROR]),
        ),
        ("5.1 half-closed: DATA", [get(1), frame(DATA, END_STREAM, 1, b"x")].concat(), Resets(closed)),
        ("5.1 half-closed: HEADERS", [get(1), get(1)].concat(), Resets(closed)),
        (
            "5.1 half-closed: CONTINUATION",
            [get(1), frame(CONTINUATION, END_HEADERS, 1, &request("GET", &[]))].concat(),
            Ends(closed),
        ),
        (
            "5.1 reset: DATA",
            [post(1), reset.clone(), frame(DATA, END_STREAM, 1, b"x")].concat(),
            Resets(closed),
        ),
        ("5.1 reset: HEADERS", [post(1), reset.clone(), get(1)].concat(), Resets(closed)),
        (
            "5.1 reset: CONTINUATION",
            [post(1), reset.clone(), frame(CONTINUATION, END_HEADERS, 1, &request("GET", &[]))].concat(),
            Ends(closed),
        ),
        ("5.1.1 even stream", get(2), Ends(&[PROTOCOL_ERROR])),
        ("5.1.1 smaller stream", [get(5), get(3)].concat(), Ends(&[PROTOCOL_ERROR, STREAM_CLOSED])),
        ("5.1.2 too many streams", many, Resets(&[PROTOCOL_ERROR, REFUSED_STREAM])),
        (
            "5.3.1 HEADERS on itself",
            frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &itself),
            Resets(&[PROTOCOL_ERROR]),
        ),
        ("5.4.1 a connection error ends it", frame(PING, 0, 3, &[0; 8]), Ends(&[PROTOCOL_ERROR])),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_frame() {
    let settings =
        |id: u16, value: u32| frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    let large = [0x7f, 0xff, 0xff, 0xff];
    let half = frame(HEADERS, END_STREAM, 1, &request("GET", &[])[..9]);
    let rest = request("GET", &[])[9..].to_vec();
    judge_all(vec![
        ("6.1 DATA on stream 0", frame(DATA, END_STREAM, 0, b"x"), Ends(&[PROTOCOL_ERROR])),
        (
            "6.1 padding too long",
            [post(1), frame(DATA, END_STREAM | PADDED, 1, &[6, 1, 2, 3])].concat(),
            Ends(&[PROTOCOL_ERROR]),
        ),
        ("6.1 padding", [post(1), frame(DATA, END_STREAM | PADDED, 1, &[2, 1, 0, 0])].concat(), Answered),
        ("6.2 HEADERS on stream 0", frame(HEADERS, 5, 0, &request("GET", &[])), Ends(&[PROTOCOL_ERROR])),
        ("6.2 padding too long", frame(HEADERS, 5 | PADDED, 1, &[255, 0]), Ends(&[PROTOCOL_ERROR])),
        ("6.3 PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 255]), Ends(&[PROTOCOL_ERROR])),
        (
            "6.3 PRIORITY of 4 bytes",
            [post(1), frame(PRIORITY, 0, 1, &[0; 4])].concat(),
            Resets(&[FRAME_SIZE_ERROR]),
        ),
        ("6.4 RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), Ends(&[PROTOCOL_ERROR])),
        (
            "6.4 RST_STREAM of 3 bytes",
            [post(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        ("6.5 ACK with a payload", frame(SETTINGS, ACK, 0, &[0; 6]), Ends(&[FRAME_SIZE_ERROR])),
        ("6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100]), Ends(&[PROTOCOL_ERROR])),
        ("6.5 SETTINGS of 3 bytes", frame(SETTINGS, 0, 0, &[0, 3, 0]), Ends(&[FRAME_SIZE_ERROR])),
        ("6.5.2 ENABLE_PUSH", settings(2, 2), Ends(&[PROTOCOL_ERROR])),
        ("6.5.2 INITIAL_WINDOW_SIZE", settings(4, 1 << 31), Ends(&[FLOW_CONTROL_ERROR])),
        ("6.5.2 MAX_FRAME_SIZE too small", settings(5, 16_383), Ends(&[PROTOCOL_ERROR])),
        ("6.5.2 MAX_FRAME_SIZE too large", settings(5, 1 << 24), Ends(&[PROTOCOL_ERROR])),
        ("6.5.2 unknown setting", settings(0xff, 1), Lives),
        ("6.7 PING with ACK", frame(PING, ACK, 0, b"not this"), Lives),
        ("6.7 PING on a stream", frame(PING, 0, 1, &[0; 8]), Ends(&[PROTOCOL_ERROR])),
        ("6.7 PING of 6 bytes", frame(PING, 0, 0, &[0; 6]), Ends(&[FRAME_SIZE_ERROR])),
        ("6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Ends(&[PROTOCOL_ERROR])),
        ("6.9 increment 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Ends(&[PROTOCOL_ERROR])),
        (
            "6.9 increment 0 on a stream",
            [post(1), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            Resets(&[PROTOCOL_ERROR]),
        ),
        ("6.9 WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), Ends(&[FRAME_SIZE_ERROR])),
        ("6.9.1 window too large", frame(WINDOW_UPDATE, 0, 0, &large).repeat(2), Ends(&[FLOW_CONTROL_ERROR])),
        (
            "6.9.1 a stream's window too large",
            [post(1), frame(WINDOW_UPDATE, 0, 1, &large).repeat(2)].concat(),
            Resets(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.10 CONTINUATIONs",
            [
                half.clone(),
                frame(CONTINUATION, 0, 1, &rest[..9]),
                frame(CONTINUATION, END_HEADERS, 1, &rest[9..]),
            ]
            .concat(),
            Answered,
        ),
        (
            "6.10 DATA inside a block",
            [half.clone(), frame(DATA, 0, 1, b"x")].concat(),
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.10 CONTINUATION on stream 0",
            [half.clone(), frame(CONTINUATION, END_HEADERS, 0, &rest)].concat(),
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.10 CONTINUATION behind END_HEADERS",
            [post(1), frame(CONTINUATION, END_HEADERS, 1, &rest)].concat(),
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.10 CONTINUATION behind its end",
            [half, frame(CONTINUATION, END_HEADERS, 1, &rest), frame(CONTINUATION, END_HEADERS, 1, &rest)]
                .concat(),
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.10 CONTINUATION behind DATA",
            [post(1), frame(DATA, 0, 1, b"x"), frame(CONTINUATION, END_HEADERS, 1, &rest)].concat(),
            Ends(&[PROTOCOL_ERROR]),
        ),
    ])
    .await;
}

/// §6.5.3, §6.7 and §6.9: what is to be answered is, and windows are kept to the byte.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_and_windows() {
    let house = House::usual().await;
    let window = |size: u8| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, size]);
    let mut raw = Raw::connect(&house).await.expect("a handshake");
    raw.send(
        &[
            PREFACE,
            &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 100, 0, 4, 0, 0, 0, 1]),
            &get(1),
            &frame(PING, 0, 0, &MARK),
        ]
        .concat(),
    )
    .await;
    // The last of two values holds.
    let heard = raw.hear(|heard| !heard.data.is_empty() && heard.settings == 2).await;
    assert_eq!((&heard.data[..], &heard.pings[..]), (&[1][..], &[MARK][..]));
    // A window that is made smaller can be negative; what is then opened counts from there: 2 and 4, of which 1 is used.
    let opened = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 4]);
    raw.send(&[window(3), window(2), opened].concat()).await;
    let heard = raw.hear(|heard| heard.data.iter().sum::<usize>() >= 5).await;
    assert_eq!(heard.data.iter().sum::<usize>(), 5);
    raw.send(&frame(PING, 0, 0, &MARK)).await;
    assert_eq!(raw.hear(|heard| heard.pings.contains(&MARK)).await.data, [0; 0], "nothing beyond it");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_malformed() {
    let malformed = Resets(&[PROTOCOL_ERROR]);
    let [method, scheme, authority, path] =
        [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/public")];
    let with = |more: &[(&str, &str)]| fields(&[&[method, scheme, authority, path], more].concat());
    let declared = |length: &str, bodies: &[&[u8]]| {
        let mut bytes = frame(HEADERS, END_HEADERS, 1, &request("POST", &[("content-length", length)]));
        for (at, body) in bodies.iter().enumerate() {
            bytes.extend(frame(DATA, u8::from(at + 1 == bodies.len()), 1, body));
        }
        bytes
    };
    judge_all(vec![
        (
            "8.1 second HEADERS without END_STREAM",
            [post(1), frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")]))].concat(),
            malformed,
        ),
        ("8.1.2 upper case", with(&[("X-TEST", "ok")]), malformed),
        ("8.1.2.1 unknown pseudo-field", with(&[(":test", "ok")]), malformed),
        ("8.1.2.1 pseudo-field of a response", with(&[(":status", "200")]), malformed),
        (
            // The one deviation of h2: it forgets the pseudo-field and takes the rest. Nothing of it reaches anyone.
            "8.1.2.1 pseudo-field in trailers",
            [post(1), frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[method]))].concat(),
            Answered,
        ),
        (
            "8.1.2.1 pseudo-field behind a field",
            fields(&[method, scheme, authority, ("x", "y"), path]),
            malformed,
        ),
        ("8.1.2.2 connection", with(&[("connection", "keep-alive")]), malformed),
        ("8.1.2.2 keep-alive", with(&[("keep-alive", "1")]), malformed),
        ("8.1.2.2 proxy-connection", with(&[("proxy-connection", "keep-alive")]), malformed),
        ("8.1.2.2 transfer-encoding", with(&[("transfer-encoding", "chunked")]), malformed),
        ("8.1.2.2 upgrade", with(&[("upgrade", "websocket")]), malformed),
        ("8.1.2.2 te", with(&[("te", "trailers, deflate")]), malformed),
        ("8.1.2.2 te: trailers", with(&[("te", "trailers")]), Answered),
        ("8.1.2.3 empty path", fields(&[method, scheme, authority, (":path", "")]), malformed),
        ("8.1.2.3 no method", fields(&[scheme, authority, path]), malformed),
        ("8.1.2.3 no scheme", fields(&[method, authority, path]), malformed),
        ("8.1.2.3 no path", fields(&[method, scheme, authority]), malformed),
        ("8.1.2.3 two methods", fields(&[method, method, scheme, authority, path]), malformed),
        ("8.1.2.3 two schemes", fields(&[method, scheme, scheme, authority, path]), malformed),
        ("8.1.2.3 two paths", fields(&[method, scheme, authority, path, path]), malformed),
        ("8.1.2.6 a length that is not the body's", declared("1", &[b"test"]), malformed),
        ("8.1.2.6 nor of two frames", declared("1", &[b"te", b"st"]), malformed),
        ("8.1.2.6 a body that is too short", declared("5", &[b"test"]), malformed),
        (
            "8.1.2.6 a length and no body",
            frame(HEADERS, 5, 1, &request("POST", &[("content-length", "5")])),
            malformed,
        ),
        ("RFC 9113 §8.2.1 CR LF in a value", with(&[("x", "a\r\nx-auth-subject: root")]), malformed),
        ("RFC 9113 §8.2.1 LF in a value", with(&[("x", "a\nb")]), malformed),
        ("RFC 9113 §8.2.1 NUL in a value", with(&[("x", "a\0b")]), malformed),
        ("RFC 9113 §8.2.1 a space in a name", with(&[("x y", "a")]), malformed),
        ("RFC 9113 §8.2.1 a colon in a name", with(&[("x:y", "a")]), malformed),
        (
            "RFC 9113 §8.2.1 CR LF in the path",
            fields(&[method, scheme, authority, (":path", "/public HTTP/1.1\r\nx: y")]),
            malformed,
        ),
        (
            "RFC 9113 §8.2.1 CR LF in the method",
            fields(&[(":method", "GET / HTTP/1.1\r\nx:"), scheme, authority, path]),
            malformed,
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_compression() {
    let with = |more: &[u8]| frame(HEADERS, 5, 1, &[&request("GET", &[])[..], more].concat());
    let broken = Ends(&[COMPRESSION_ERROR]);
    judge_all(vec![
        ("hpack 2.3.3 index that is not there", with(&[0xff, 0x80, 0x01]), broken),
        ("hpack 2.3.3 name that is not there", with(&[0x7f, 0x80, 0x01, 0x01, b'x']), broken),
        ("hpack 4.2 size update at the end", with(&[0x20]), broken),
        ("hpack 5.2 padding of more than 7 bits", with(b"\x00\x01x\x83\x18\xc6\xff\xff"), broken),
        ("hpack 5.2 padding of zeros", with(b"\x00\x01x\x82\x18\x00"), broken),
        ("hpack 5.2 EOS", with(b"\x00\x01x\x84\xff\xff\xff\xff"), broken),
        ("hpack 6.1 index 0", with(&[0x80]), broken),
        (
            "hpack 6.3 size update beyond the limit",
            frame(HEADERS, 5, 1, &[&[0x3f, 0xe2, 0x1f][..], &request("GET", &[])].concat()),
            broken,
        ),
        (
            "hpack 6.3 size update",
            frame(HEADERS, 5, 1, &[&[0x20][..], &request("GET", &[])].concat()),
            Answered,
        ),
        (
            "hpack 5.1 an integer without an end",
            with(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            broken,
        ),
    ])
    .await;
}
