//! A chunked body, checked as it passes (RFC 9112 §7.1): nothing is gathered, and not a byte of a line goes on before the line is whole and right.

use memchr::memchr;

use super::head::{MOST_FIELDS, field_line};

/// The longest chunk-size line with its extensions, in bytes. Nobody we know of sends extensions; RFC 9112 §7.1.1 asks for a limit.
const LONGEST_SIZE_LINE: usize = 256;

/// The most bytes of trailers. What may stand in them, and whether they are passed on, is for the forwarding side to say.
const LONGEST_TRAILERS: usize = 8 * 1024;

/// The body broke a rule. What was passed on before was in order; the request it belongs to must end without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// How far the body was found in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// So many bytes; none means that a line is not complete.
    Part(usize),
    /// So many bytes, and the next head begins behind them.
    End(usize),
}

/// Where in a chunked body we are.
#[derive(Debug)]
pub(super) struct ChunkReader {
    stage: Stage,
    /// Up to where the line that is not complete yet has been searched for its end.
    searched: usize,
    trailer_bytes: usize,
    trailer_fields: usize,
}

#[derive(Debug)]
enum Stage {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

impl ChunkReader {
    /// At the first chunk's size line.
    pub(super) const fn new() -> Self {
        Self { stage: Stage::Size, searched: 0, trailer_bytes: 0, trailer_fields: 0 }
    }

    /// Checks one piece more. `bytes` starts behind what was checked before, and what was not is presented again with more behind it.
    ///
    /// # Errors
    /// [`Broken`], as soon as it is certain.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Checked, Broken> {
        match self.stage {
            Stage::Size => {
                let Some(line) = self.line(bytes, LONGEST_SIZE_LINE)? else { return Ok(Checked::Part(0)) };
                self.stage = match chunk_size(line)? {
                    0 => Stage::Trailers,
                    size => Stage::Data(size),
                };
                Ok(Checked::Part(line.len() + 2))
            }
            Stage::Data(left) => {
                let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.stage = match left - taken as u64 {
                    0 => Stage::DataEnd,
                    left => Stage::Data(left),
                };
                Ok(Checked::Part(taken))
            }
            // Data without CRLF behind it is longer than its size says: where it ends is what readers would disagree about.
            Stage::DataEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.stage = Stage::Size;
                    Ok(Checked::Part(2))
                }
                [b'\r'] | [] => Ok(Checked::Part(0)),
                [..] => Err(Broken),
            },
            Stage::Trailers => {
                let Some(line) = self.line(bytes, LONGEST_TRAILERS - self.trailer_bytes)? else {
                    return Ok(Checked::Part(0));
                };
                if line.is_empty() {
                    return Ok(Checked::End(2));
                }
                self.trailer(line)?;
                Ok(Checked::Part(line.len() + 2))
            }
        }
    }

    /// The line that `bytes` begins with, without its CRLF, once it is complete; at most `limit` bytes with it.
    fn line<'b>(&mut self, bytes: &'b [u8], limit: usize) -> Result<Option<&'b [u8]>, Broken> {
        match memchr(b'\n', &bytes[self.searched..]) {
            Some(found) if self.searched + found < limit => {
                let end = self.searched + found;
                self.searched = 0;
                bytes[..end].strip_suffix(b"\r").map(Some).ok_or(Broken)
            }
            None if bytes.len() < limit => {
                self.searched = bytes.len();
                Ok(None)
            }
            Some(_) | None => Err(Broken),
        }
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), Broken> {
        self.trailer_bytes += line.len() + 2;
        self.trailer_fields += 1;
        let (name, _) = field_line(line).ok_or(Broken)?;
        // RFC 9110 §6.5.1: fields that frame or route a message have no place behind it.
        let frames = [&b"content-length"[..], b"transfer-encoding", b"host", b"trailer"];
        if self.trailer_fields > MOST_FIELDS || frames.iter().any(|frame| name.eq_ignore_ascii_case(frame)) {
            return Err(Broken);
        }
        Ok(())
    }
}

/// `chunk-size [ chunk-ext ]`: hexadecimal digits, then nothing, or `;` and visible text.
fn chunk_size(line: &[u8]) -> Result<u64, Broken> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at(digits);
    // Fifteen digits cannot overflow; RFC 9112 §7.1 asks for that check by name.
    if digits.is_empty() || digits.len() > 15 {
        return Err(Broken);
    }
    let visible = |&byte: &u8| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic();
    match extension {
        [] => {}
        [b';', rest @ ..] if rest.iter().all(visible) => {}
        [..] => return Err(Broken),
    }
    let text = std::str::from_utf8(digits).map_err(|_| Broken)?;
    u64::from_str_radix(text, 16).map_err(|_| Broken)
}
