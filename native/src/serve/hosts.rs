//! Who may read: the addresses on which a run is served, the hosts that requests may name, and the origin of a page
//! elsewhere.
//!
//! A browser lets a page read what its own origin serves. Under DNS rebinding an attacker's page changes the address of
//! its own name to 127.0.0.1 after it was loaded, so that its requests reach servers of the visitor's machine. Such a
//! request still has the attacker's name in its header `Host`, so names that the user has not given are refused.

use std::net::{IpAddr, TcpListener};

use anyhow::{Context, bail};

/// The address of `--serve`, opened.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: TcpListener,
    /// The name in the option, if it is no number.
    pub(super) name: Option<String>,
}

/// Listens at `HOST:PORT`, or at a port of this machine's loopback address.
///
/// # Errors
/// One line when that is no address, or cannot be listened at.
pub(super) fn listen(given: &str) -> anyhow::Result<Listening> {
    let (host, port) = given.rsplit_once(':').unwrap_or(("127.0.0.1", given));
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let bare = inner.unwrap_or(host);
    let is_number = bare.parse::<IpAddr>().is_ok();
    // An IPv6 address without brackets would be read as another one and a port.
    let is_name = !bare.is_empty() && !bare.contains(':') && inner.is_none();
    let port: u16 = match port.parse() {
        Ok(port) if inner.map_or(is_name, |inner| inner.contains(':') && is_number) => port,
        _ => bail!("--serve {given}: give an address and a port, such as 127.0.0.1:6006"),
    };
    // Not looked up, because a machine without /etc/hosts, such as a bare container, does not know the name; everywhere
    // it means this machine (RFC 6761, section 6.3).
    let address = if bare.eq_ignore_ascii_case("localhost") {
        "127.0.0.1"
    } else {
        bare
    };
    let listener = TcpListener::bind((address, port)).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "--serve {given}: the port is in use: end the program that uses it, or give another port (0 for a free one)"
        ),
        std::io::ErrorKind::AddrNotAvailable => anyhow::anyhow!(
            "--serve {given}: this machine does not have that address: give one of its own, such as 127.0.0.1:{port}"
        ),
        _ => anyhow::anyhow!("--serve {given}: cannot listen there ({error})"),
    })?;
    let name = (!is_number).then(|| bare.to_ascii_lowercase());
    Ok(Listening { listener, name })
}

/// Whether a request that names this host is for us: an address in numbers, `localhost`, or the name of `--serve`. The
/// port is not compared, because a forwarded connection names another one.
pub(super) fn is_ours(host: &str, name: Option<&str>) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match host.rsplit_once(':') {
        // A colon in brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => {
            if !is_port(port) {
                return false;
            }
            host
        }
        _ => host,
    };
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let is_number = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.parse::<std::net::Ipv4Addr>().is_ok(),
    };
    let named = |name: &str| host.eq_ignore_ascii_case(name);
    is_number || named("localhost") || name.is_some_and(named)
}

/// The value of `--serve-origin` as browsers write an origin: scheme, host and port, the port only if it is not the
/// scheme's own.
///
/// # Errors
/// One line when it is no origin of a page.
pub(super) fn origin(given: &str) -> anyhow::Result<String> {
    let refused = || {
        format!(
            "--serve-origin {}: give the scheme, host and port of the page, such as https://example.org or \
             http://localhost:8080",
            given.escape_debug()
        )
    };
    let (scheme, rest) = given.split_once("://").with_context(refused)?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let usual_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => bail!("{}", refused()),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        bail!("{}", refused());
    }
    let host = host.strip_suffix(usual_port).unwrap_or(host);
    Ok(format!("{scheme}://{}", host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_not_ours() {
        for ours in [
            "localhost",
            "LOCALHOST:6006",
            "127.0.0.1",
            "127.0.0.1:6006",
            "127.0.0.1:7777",
            "192.168.1.7:6006",
            "[::1]:6006",
            "[::1]",
        ] {
            assert!(is_ours(ours, None), "{ours}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:6006",
            "localhost.evil.example",
            "127.0.0.1.evil.example:6006",
            "localhost:6006:6006",
            "localhost:evil",
            "::1",
            "[::1",
            "[evil]",
            "127.0.0.1@evil.example",
            "gpu-box:6006",
        ] {
            assert!(!is_ours(other, None), "{other}");
        }
        assert!(is_ours("GPU-box:6006", Some("gpu-box")));
        assert!(!is_ours("evil.example:6006", Some("gpu-box")));
    }

    #[test]
    fn addresses_are_those_of_this_machine_unless_told() {
        for (given, ip) in [
            ("0", "127.0.0.1"),
            ("127.0.0.1:0", "127.0.0.1"),
            ("0.0.0.0:0", "0.0.0.0"),
            ("LocalHost:0", "127.0.0.1"),
        ] {
            let listening = listen(given).expect(given);
            let address = listening.listener.local_addr().expect("an address");
            assert_eq!(address.ip().to_string(), ip, "{given}");
            let name = given.contains("Local").then_some("localhost");
            assert_eq!(listening.name.as_deref(), name, "{given}");
        }
        for wrong in [
            "",
            ":",
            ":6006",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:http",
            "127.0.0.1:70000",
            "::1:6006",
            "[::1]",
            "[localhost]:0",
            "http://127.0.0.1:6006",
        ] {
            let error = listen(wrong).expect_err(wrong).to_string();
            assert!(error.contains("such as 127.0.0.1:6006"), "{wrong}: {error}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for (given, written) in [
            ("https://Example.org/", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(origin(given).expect(given), written);
        }
        for wrong in [
            "*",
            "null",
            "example.org",
            "ftp://example.org",
            "https://",
            "https://example.org/page",
            "https://a@example.org",
            "https://example.org\r\nX: y",
            "https://*",
        ] {
            let error = origin(wrong).expect_err(wrong).to_string();
            assert!(
                !error.contains('\n') && error.contains("--serve-origin"),
                "{error}"
            );
        }
    }
}
