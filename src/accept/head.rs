//! The head of an HTTP/1 request, byte by byte: whether it is one that every reader behind us understands as we do (RFC 9112).
//!
//! hyper's parser is tolerant where the RFC allows it: a bare LF ends a line, Content-Length beside Transfer-Encoding is dropped. The
//! upstream may be tolerant in another way, and where two readers disagree about where a request ends, the rest of one
//! caller's body becomes another caller's request, behind every check of ours. So the head is judged here, in place, before hyper
//! sees a byte of it, and what is doubtful is refused rather than repaired (R-L-06). Values are not understood here, only their form.

use http::HeaderMap;
use memchr::memchr;

use super::refusal::Refusal;
use crate::verify::rejection::Rejection;

/// More fields than this and the request is refused, however short they are.
pub(super) const MOST_FIELDS: usize = 100;

/// Judges the number of fields in a head that HTTP/2 carried, where no [`HeadReader`] has counted them.
///
/// # Errors
/// [`Rejection::FieldsTooMany`]
pub fn judge_number(headers: &HeaderMap) -> Result<(), Rejection> {
    if headers.len() > MOST_FIELDS { Err(Rejection::FieldsTooMany) } else { Ok(()) }
}

/// The longest body that can be declared. Readers that count in 63 bits disagree with others about anything longer, and hyper about the
/// last of 64 bits.
const LONGEST_BODY: u64 = i64::MAX as u64;

/// `http::Uri` counts in sixteen bits; a longer target would be refused further up without our wording.
const LONGEST_TARGET: usize = u16::MAX as usize - 1;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// The next head.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks (RFC 9112 §7.1).
    Chunked,
}

/// A complete head that obeys the rules: how long it is, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes, with the empty line.
    pub(super) length: usize,
    /// What follows.
    pub(super) body: Body,
    /// It asks for another protocol behind it (RFC 9110 §7.8).
    pub(super) upgrade: bool,
}

/// What has been read of a head. Lines are judged once each, when they are complete, so that a head that arrives a
/// byte at a time costs no more than one that arrives at once.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// Where the line that is not complete yet begins, from the head's first byte.
    line: usize,
    /// Up to where that line has been searched for its end.
    searched: usize,
    version: Version,
    fields: usize,
    hosts: usize,
    content_length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Version {
    /// Nothing has been read.
    #[default]
    Unknown,
    /// The one empty line that may stand before a request line has been read.
    AfterEmptyLine,
    Http10,
    Http11,
}

impl HeadReader {
    /// Reads on. `bytes` starts at the head's first byte and each time holds what it held before and more; `limit` is in bytes.
    /// `None` means the head is not complete.
    ///
    /// # Errors
    /// The refusal, as soon as a complete line deserves it.
    pub(super) fn read(&mut self, bytes: &[u8], limit: usize) -> Result<Option<Head>, Refusal> {
        while let Some(found) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + found;
            if end >= limit {
                return Err(Refusal::HeadTooLarge);
            }
            // RFC 9112 §2.2 lets a recipient take a bare LF for a line's end; one that does and one that does not disagree.
            let line = bytes[self.line..end].strip_suffix(b"\r").ok_or(Refusal::Malformed)?;
            (self.line, self.searched) = (end + 1, end + 1);
            match self.version {
                // RFC 9112 §2.2: one empty line before the request line is ignored; old clients send it behind a body.
                Version::Unknown if line.is_empty() => self.version = Version::AfterEmptyLine,
                Version::Unknown | Version::AfterEmptyLine => self.version = request_line(line)?,
                Version::Http10 | Version::Http11 if line.is_empty() => {
                    // RFC 9110 §7.8: in HTTP/1.0 the field means nothing.
                    let upgrade = self.upgrade && self.version == Version::Http11;
                    return self.body().map(|body| Some(Head { length: end + 1, body, upgrade }));
                }
                Version::Http10 | Version::Http11 => self.field(line)?,
            }
        }
        self.searched = bytes.len();
        if bytes.len() > limit { Err(Refusal::HeadTooLarge) } else { Ok(None) }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > MOST_FIELDS {
            return Err(Refusal::TooManyFields);
        }
        let (name, value) = field_line(line).ok_or(Refusal::Malformed)?;
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            // RFC 9112 §6.3: a list or a second line is an error even where the values agree, since readers differ in which they take.
            if self.content_length.replace(decimal(value)?).is_some() {
                return Err(Refusal::FramingAmbiguous);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // RFC 9112 §6.1: `chunked`, once, and no other coding; not in HTTP/1.0, whose readers do not know the field.
            if self.chunked || self.version == Version::Http10 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::FramingAmbiguous);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    /// What the whole head says about what follows it.
    fn body(&self) -> Result<Body, Refusal> {
        // RFC 9112 §3.2: exactly one Host, in HTTP/1.1; HTTP/1.0 may do without, and is then refused where hosts are told apart.
        if self.hosts > 1 || (self.hosts == 0 && self.version == Version::Http11) {
            return Err(Refusal::HostInvalid);
        }
        match (self.chunked, self.content_length) {
            // RFC 9112 §6.1: both together is how requests are smuggled.
            (true, Some(_)) => Err(Refusal::FramingAmbiguous),
            (true, None) => Ok(Body::Chunked),
            (false, None | Some(0)) => Ok(Body::None),
            (false, Some(length)) => Ok(Body::Length(length)),
        }
    }
}

/// RFC 9112 §3: `method SP request-target SP HTTP-version`, single spaces and nothing else.
fn request_line(line: &[u8]) -> Result<Version, Refusal> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::Malformed);
    };
    if !is_token(method) {
        return Err(Refusal::Malformed);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::VersionUnknown);
        }
        _ => return Err(Refusal::Malformed),
    };
    if target.len() > LONGEST_TARGET {
        return Err(Refusal::TargetTooLong);
    }
    if has_target_form(method, target) { Ok(version) } else { Err(Refusal::Malformed) }
}

/// RFC 9112 §3.2: one of the four forms. Which of them are served is decided in `target`; here, whether readers agree on what it is.
fn has_target_form(method: &[u8], target: &[u8]) -> bool {
    match target {
        // A fragment is no part of a request target: a reader may cut it off, or take it for the path.
        [b'/', ..] => target.iter().all(|&byte| TARGET[usize::from(byte)]),
        b"*" => true,
        _ => {
            let absolute = |scheme: &[u8]| {
                target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            };
            (method == b"CONNECT" || absolute(b"http://") || absolute(b"https://"))
                && target.iter().all(|&byte| TARGET[usize::from(byte)])
                && http::Uri::try_from(target).is_ok()
        }
    }
}

/// RFC 9112 §5: a name, a colon with nothing before it, a value. `None` for anything else: white space in front (obs-fold, §5.2) or
/// before the colon (§5.1) leaves a name that is no token. The value comes without the white space around it.
pub(super) fn field_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', line)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    // RFC 9110 §5.5: no CR, LF or NUL, and no other control character except the tab.
    (is_token(name) && is_value(value)).then(|| (name, value.trim_ascii()))
}

/// RFC 9112 §6.2: digits and nothing else, no sign, no list.
fn decimal(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::FramingAmbiguous);
    }
    value
        .iter()
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .filter(|number| *number <= LONGEST_BODY)
        .ok_or(Refusal::FramingAmbiguous)
}

/// RFC 9110 §5.6.2.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| TOKEN[usize::from(byte)])
}

/// Without an exit half-way the compiler compares many bytes at once. Credentials are kilobytes, and nearly always fit to their end.
fn is_value(text: &[u8]) -> bool {
    text.iter().fold(true, |all, &byte| all & ((byte == b'\t') | ((byte >= b' ') & (byte != 0x7f))))
}

/// A table of the bytes that `$fits`, so that a head is judged at about a byte a cycle.
macro_rules! table {
    ($fits:ident) => {{
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = $fits(byte as u8);
            byte += 1;
        }
        table
    }};
}

static TOKEN: [bool; 256] = table!(is_token_byte);
static TARGET: [bool; 256] = table!(is_target_byte);

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What RFC 3986 has in a path or a query, and the few characters beside it that `http::Uri` takes. `verify::htu::Path` is stricter.
const fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`')
}
