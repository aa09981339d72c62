//! RFC 3986 written down as it reads, slowly and with nothing of the gateway's: the second opinion on `htu`.
//!
//! Where the gateway is stricter on purpose, the rule is here too, in its own words: only http and https, no userinfo, names of letters,
//! digits, `-`, `.` and `_`, ports of at most five digits.

use std::net::Ipv6Addr;

/// A URI in its normal form, without query and fragment: scheme, host, port, path. `None` for what is no http(s) URI.
pub(crate) fn normal(uri: &str) -> Option<(String, String, u16, String)> {
    // §2: a URI is made of printable ASCII; `\` is in none of its sets. Query and fragment need be no more than that here.
    if uri.chars().any(|c| !('!'..='~').contains(&c) || c == '\\') {
        return None;
    }
    // Appendix B, from the right: the fragment behind the first `#`, then the query behind the first `?`.
    let uri = uri.split('#').next()?;
    let uri = uri.split('?').next()?;
    let colon = uri.find(':')?;
    let scheme = uri[..colon].to_lowercase();
    let default_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let rest = uri[colon + 1..].strip_prefix("//")?;
    let slash = rest.find('/').unwrap_or(rest.len());
    let (host, port) = authority(&rest[..slash], default_port)?;
    // §6.2.3: an empty path behind an authority is `/`.
    let path = if slash == rest.len() { "/" } else { &rest[slash..] };
    Some((scheme, host, port, remove_dot_segments(&percent_normal(path)?)))
}

/// §3.2, §6.2.2.1, §6.2.3.
fn authority(text: &str, default_port: u16) -> Option<(String, u16)> {
    // The port is behind the last colon that is not inside brackets.
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text[after_brackets..].find(':') {
        Some(at) => (&text[..after_brackets + at], &text[after_brackets + at + 1..]),
        None => (text, ""),
    };
    let port = match port.len() {
        0 => default_port,
        1..=5 if port.chars().all(|c| c.is_ascii_digit()) => u16::try_from(port.parse::<u32>().ok()?).ok()?,
        _ => return None,
    };
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some((format!("[{address}]"), port));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    (!host.is_empty() && host.len() <= 255 && host.chars().all(is_name)).then(|| (host.to_lowercase(), port))
}

/// §6.2.2.1 and §6.2.2.2: hex digits in upper case, unreserved characters decoded. `None` where §3.3 allows no such path.
fn percent_normal(path: &str) -> Option<String> {
    const UNRESERVED: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    const OTHER_PCHAR_AND_SLASH: &str = "!$&'()*+,;=:@/";
    let mut out = String::new();
    let mut at = 0;
    while at < path.len() {
        let c = path[at..].chars().next()?;
        if c == '%' {
            let hex = path.get(at + 1..at + 3)?;
            if !hex.chars().all(|c| c.is_ascii_hexdigit()) {
                return None;
            }
            let octet = char::from(u8::from_str_radix(hex, 16).ok()?);
            if UNRESERVED.contains(octet) {
                out.push(octet);
            } else {
                out += &format!("%{}", hex.to_uppercase());
            }
            at += 3;
        } else if UNRESERVED.contains(c) || OTHER_PCHAR_AND_SLASH.contains(c) {
            out.push(c);
            at += 1;
        } else {
            return None;
        }
    }
    Some(out)
}

/// §5.2.4, step by step, with its input and output buffers.
pub(crate) fn remove_dot_segments(path: &str) -> String {
    let mut input = path.to_owned();
    let mut output = String::new();
    while !input.is_empty() {
        if input.starts_with("../") {
            input.drain(..3); // A
        } else if input.starts_with("./") || input.starts_with("/./") {
            input.drain(..2); // A, B
        } else if input == "/." {
            input = "/".to_owned(); // B
        } else if input.starts_with("/../") || input == "/.." {
            input = format!("/{}", input.get(4..).unwrap_or("")); // C
            output.truncate(output.rfind('/').unwrap_or(0));
        } else if input == "." || input == ".." {
            input.clear(); // D
        } else {
            // E: the first segment, with its leading slash, up to the next.
            let next = input[1..].find('/').map_or(input.len(), |at| at + 1);
            output.extend(input.drain(..next));
        }
    }
    output
}
