//! The protocol of Redis, version 2 ("RESP2", redis.io/docs/latest/develop/reference/protocol-spec), as far as claims need it: commands written, replies read.
//!
//! What answers may be anything, so a reply has bounds: bytes, depth, and no memory for more parts than have come. Replies are read where they lie; a store that
//! takes a hundred thousand claims a second would otherwise spend its time on allocations.

/// The longest reply that is read. `INFO` has 10 KiB, `CLUSTER SLOTS` of a thousand nodes has 200.
pub const LONGEST: usize = 1 << 20;
/// The longest line: errors and numbers.
const LONGEST_LINE: usize = 4 * 1024;
/// How deep arrays may lie in arrays. `CLUSTER SLOTS` has four.
const DEEPEST: usize = 6;

/// A reply, where it lies in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'i> {
    /// `+OK`
    Simple(&'i [u8]),
    /// `-ERR …`, without the dash
    Error(&'i [u8]),
    /// `:1`
    Integer(i64),
    /// `$2`, and two bytes
    Bulk(&'i [u8]),
    /// `$-1` and `*-1`: there is none
    Nil,
    /// `*2`, and two replies
    Array(Vec<Reply<'i>>),
}

/// Why there is no reply in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// Not all of it has come.
    Half,
    /// It is none, nor the beginning of one, or it is too large.
    Foreign,
}

impl<'i> Reply<'i> {
    /// The reply at the beginning of `input`, and how many bytes it has.
    ///
    /// # Errors
    /// [`NoReply`]
    pub fn read(input: &'i [u8]) -> Result<(Self, usize), NoReply> {
        let mut rest = input;
        match Self::take(&mut rest, 0) {
            // Waiting for more of a reply that is too long already would let a server fill our memory.
            Err(NoReply::Half) if input.len() >= LONGEST => Err(NoReply::Foreign),
            Err(why) => Err(why),
            Ok(reply) => Ok((reply, input.len() - rest.len())),
        }
    }

    fn take(rest: &mut &'i [u8], depth: usize) -> Result<Self, NoReply> {
        let (kind, after) = rest.split_first().ok_or(NoReply::Half)?;
        // Before anything else: a server of another protocol is known by its first byte, not after its silence.
        if !b"+-:$*".contains(kind) {
            return Err(NoReply::Foreign);
        }
        *rest = after;
        let line = take_line(rest)?;
        match kind {
            b'+' => Ok(Reply::Simple(line)),
            b'-' => Ok(Reply::Error(line)),
            b':' => Ok(Reply::Integer(number(line)?)),
            b'$' => match length(line)? {
                None => Ok(Reply::Nil),
                Some(length) => {
                    if rest.len() < length + 2 {
                        return Err(NoReply::Half);
                    }
                    let (bytes, after) = rest.split_at(length);
                    *rest = after.strip_prefix(b"\r\n").ok_or(NoReply::Foreign)?;
                    Ok(Reply::Bulk(bytes))
                }
            },
            _ => match length(line)? {
                None => Ok(Reply::Nil),
                Some(_) if depth == DEEPEST => Err(NoReply::Foreign),
                Some(length) => {
                    // No part is shorter than `+\r\n`, so no more than can be there are made room for.
                    let mut parts = Vec::with_capacity(length.min(rest.len() / 3));
                    for _ in 0..length {
                        parts.push(Self::take(rest, depth + 1)?);
                    }
                    Ok(Reply::Array(parts))
                }
            },
        }
    }
}

/// The bytes up to the next line break, which is taken too.
fn take_line<'i>(rest: &mut &'i [u8]) -> Result<&'i [u8], NoReply> {
    let within = &rest[..rest.len().min(LONGEST_LINE)];
    let Some(end) = memchr::memchr(b'\r', within) else {
        return Err(if within.len() == LONGEST_LINE { NoReply::Foreign } else { NoReply::Half });
    };
    let (line, after) = rest.split_at(end);
    *rest = match after {
        [b'\r', b'\n', after @ ..] => after,
        [b'\r'] => return Err(NoReply::Half),
        _ => return Err(NoReply::Foreign),
    };
    Ok(line)
}

fn number(line: &[u8]) -> Result<i64, NoReply> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(NoReply::Foreign)
}

/// `None` for -1.
fn length(line: &[u8]) -> Result<Option<usize>, NoReply> {
    match number(line)? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) if length < LONGEST => Ok(Some(length)),
            Ok(_) | Err(_) => Err(NoReply::Foreign),
        },
    }
}

/// What a text like that of `INFO` says of `name`: it has a line `name:value` for each fact.
pub(super) fn field<'i>(text: &'i [u8], name: &str) -> Option<&'i [u8]> {
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter_map(|line| line.strip_prefix(name.as_bytes())).find_map(|rest| rest.strip_prefix(b":"))
}

/// Appends a command to `output`: an array of strings, its name first.
pub(super) fn write(output: &mut Vec<u8>, parts: &[&[u8]]) {
    write_length(output, b'*', parts.len());
    for part in parts {
        write_length(output, b'$', part.len());
        output.extend_from_slice(part);
        output.extend_from_slice(b"\r\n");
    }
}

/// Appends the line that says how much follows.
pub(super) fn write_length(output: &mut Vec<u8>, kind: u8, length: usize) {
    output.push(kind);
    write_number(output, length as u64);
    output.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
pub(super) fn write_number(output: &mut Vec<u8>, mut number: u64) {
    let (mut digits, mut start) = ([0; 20], 20);
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_once_it_is_whole() {
        let whole: &[(&[u8], Reply<'_>)] = &[
            (b"+OK\r\n", Reply::Simple(b"OK")),
            (b"-ERR no\r\n", Reply::Error(b"ERR no")),
            (b":-3\r\n", Reply::Integer(-3)),
            (b"$-1\r\n", Reply::Nil),
            (b"*-1\r\n", Reply::Nil),
            (b"$4\r\na\r\nb\r\n", Reply::Bulk(b"a\r\nb")),
            (b"$0\r\n\r\n", Reply::Bulk(b"")),
            (
                b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
                Reply::Array(vec![Reply::Array(vec![Reply::Integer(1)]), Reply::Bulk(b"x")]),
            ),
        ];
        for (bytes, reply) in whole {
            assert_eq!(Reply::read(bytes), Ok((reply.clone(), bytes.len())));
            let more = [bytes, b"+OK\r\n".as_slice()].concat();
            assert_eq!(Reply::read(&more), Ok((reply.clone(), bytes.len())), "what follows is another's");
            for end in 0..bytes.len() {
                assert_eq!(Reply::read(&bytes[..end]), Err(NoReply::Half), "{end} of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_known_at_once() {
        let deep = b"*1\r\n".repeat(DEEPEST + 2);
        let line = [b"+".as_slice(), &[b'x'; LONGEST_LINE]].concat();
        let long = [format!("*{}\r\n", LONGEST - 1).as_bytes(), &b":1\r\n".repeat(LONGEST / 4)].concat();
        let all: &[&[u8]] = &[
            b"H",
            b"\x15\x03",
            b"\0",
            b":x\r\n",
            b":\r\n",
            b"$-2\r\n",
            b"$2\r\nabc\r\n",
            b"+a\rb\r\n",
            b"$1048576\r\n",
            b"*9999999999999\r\n",
            b"%1\r\n",
            &deep,
            &line,
            &long,
        ];
        for bytes in all {
            assert_eq!(
                Reply::read(bytes),
                Err(NoReply::Foreign),
                "{}",
                bytes[..bytes.len().min(20)].escape_ascii()
            );
        }
    }

    #[test]
    fn commands_are_arrays_of_strings() {
        let mut output = Vec::new();
        write(&mut output, &[b"GET", b"k\r\n"]);
        assert_eq!(output, b"*2\r\n$3\r\nGET\r\n$3\r\nk\r\n\r\n");
        for number in [0, 9, 10, 66_000, u64::MAX] {
            output.clear();
            write_number(&mut output, number);
            assert_eq!(output, number.to_string().as_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, kind in "[-+:$*]{0,3}[0-9]{0,12}\r\n") {
            let _ = Reply::read(&bytes);
            let _ = Reply::read(&[kind.as_bytes(), &bytes].concat());
        }

        /// What comes in pieces is the same as what comes whole, and a part of it is nothing.
        #[test]
        fn a_part_of_a_reply_is_none(lines in proptest::collection::vec("[+:-][0-9]{1,5}|\\$3\r\n[a-z]{3}|\\$-1|\\*0", 1..5)) {
            let mut input = format!("*{}\r\n", lines.len());
            for line in &lines {
                input += line;
                input += "\r\n";
            }
            let whole = Reply::read(input.as_bytes());
            proptest::prop_assert_eq!(whole.as_ref().map(|(_, length)| *length), Ok(input.len()));
            for cut in 0..input.len() {
                proptest::prop_assert_eq!(Reply::read(&input.as_bytes()[..cut]), Err(NoReply::Half), "{}", cut);
            }
            let followed = [input.as_bytes(), b"+OK\r\n"].concat();
            proptest::prop_assert_eq!(Reply::read(&followed), whole);
        }
    }
}
