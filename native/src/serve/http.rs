//! A server of HTTP/1.1 for a few readers: GET and HEAD, one request per connection, each connection on a thread of its
//! own, with limits on size, time and number. It reads no bodies and keeps no state between requests.
//!
//! `httparse`, the parser of hyper, reads the requests. The small servers on crates.io are not maintained any more, or
//! need an asynchronous runtime, which nothing else here does.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections at a time; further ones are closed at once. A browser opens six.
const MOST_CONNECTIONS: usize = 64;
/// The longest head of a request in bytes, and the largest number of its headers.
const LONGEST_HEAD: usize = 16 << 10;
const MOST_HEADERS: usize = 100;
/// How long a client may take for the head of its request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a client may leave a part of the response unread.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How long, and for how many bytes, the rest of a request is read after the response.
const REST_TIME: Duration = Duration::from_millis(500);
const MOST_REST: usize = 64 << 10;

/// A request for something to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The path, percent-decoded; begins with a slash.
    pub(super) path: String,
    /// What follows the question mark, as it was sent.
    pub(super) query: String,
    /// The header `Host`; `None` when it is missing or given twice.
    pub(super) host: Option<String>,
}

/// The response to a request.
#[derive(Debug, Clone)]
pub(super) struct Response {
    pub(super) status: u16,
    /// The header `Content-Type`.
    pub(super) kind: &'static str,
    /// Further headers.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Arc<Vec<u8>>,
}

impl Response {
    /// A response with a body of this type.
    pub(super) fn ok(kind: &'static str, body: Arc<Vec<u8>>) -> Self {
        Self {
            status: 200,
            kind,
            headers: Vec::new(),
            body,
        }
    }

    /// One line of text, such as the reason of a refusal.
    pub(super) fn text(status: u16, line: &str) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            headers: Vec::new(),
            body: Arc::new(format!("{line}\n").into_bytes()),
        }
    }

    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn write(&self, out: &mut impl Write, head_only: bool) -> io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n",
            self.status,
            reason(self.status),
            self.kind,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        out.write_all(head.as_bytes())?;
        if !head_only {
            out.write_all(&self.body)?;
        }
        out.flush()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// Answers a request. It is called on several threads at a time.
pub(super) type Answer = dyn Fn(&Request) -> Response + Send + Sync;

/// A running server. Dropped, it accepts no more connections.
pub(super) struct Server {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers what arrives at `listener`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(listener: TcpListener, answer: Arc<Answer>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopping);
        let thread = thread::Builder::new().name("http".to_string());
        let accepting = thread.spawn(move || accept(&listener, &answer, &flag))?;
        Ok(Self {
            address,
            stopping,
            accepting: Some(accepting),
        })
    }

    /// The address and port on which it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // The thread waits for a connection; this one lets it see the flag. To the address "any", systems other than
        // Linux do not connect.
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let woken = TcpStream::connect_timeout(
            &SocketAddr::new(ip, self.address.port()),
            Duration::from_secs(1),
        );
        if let (Ok(_), Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, answer: &Arc<Answer>, stopping: &AtomicBool) {
    // Each connection holds a clone, so the number of clones is that of the connections.
    let open = Arc::new(());
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            // For instance too many open files: waits until some are closed.
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        if Arc::strong_count(&open) > MOST_CONNECTIONS {
            continue;
        }
        let (answer, counted) = (Arc::clone(answer), Arc::clone(&open));
        let connection = move || {
            // An error means that the client has gone or is too slow; nobody is left to be told.
            let _ = converse(stream, &*answer);
            drop(counted);
        };
        let thread = thread::Builder::new().name("http connection".to_string());
        // Without a thread the connection is closed, and the client may try again.
        let _ = thread.spawn(connection);
    }
}

/// Reads the request of a connection and answers it.
fn converse(mut stream: TcpStream, answer: &Answer) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIME))?;
    let (response, head_only) = match read_request(&mut stream)? {
        Ok((request, head_only)) => (answer(&request), head_only),
        Err(refusal) => (refusal, false),
    };
    response.write(&mut stream, head_only)?;
    stream.shutdown(Shutdown::Write)?;
    // Closing a connection with unread bytes, such as the body of a refused POST, resets it, and the client may lose
    // the response.
    stream.set_read_timeout(Some(REST_TIME))?;
    let mut rest = io::Read::take(&mut stream, MOST_REST as u64);
    io::copy(&mut rest, &mut io::sink()).map(|_| ())
}

/// A request and whether only the head of its response is wanted, or the refusal of what was sent.
type Incoming = Result<(Request, bool), Response>;

fn read_request(stream: &mut TcpStream) -> io::Result<Incoming> {
    let deadline = Instant::now() + HEAD_TIME;
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&chunk[..count]);
        if let Some(read) = parse(&received) {
            return Ok(read);
        }
        if received.len() > LONGEST_HEAD {
            return Ok(Err(Response::text(431, "the request is too long")));
        }
    }
}

/// The request at the beginning of `received`; `None` while its head is incomplete.
fn parse(received: &[u8]) -> Option<Incoming> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(received) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Some(Err(Response::text(431, "the request has too many headers")));
        }
        Err(_) => return Some(Err(Response::text(400, "this is no request of HTTP/1.1"))),
    }
    let method = head.method.unwrap_or_default();
    if method != "GET" && method != "HEAD" {
        let refusal = Response::text(405, "only GET and HEAD: a run can be read, not changed");
        return Some(Err(refusal.with("allow", "GET, HEAD")));
    }
    let (path, query) = match head.path.unwrap_or_default().split_once('?') {
        Some((path, query)) => (path, query),
        None => (head.path.unwrap_or_default(), ""),
    };
    let Some(path) = decoded(path).filter(|path| path.starts_with('/')) else {
        return Some(Err(Response::text(400, "the path cannot be read")));
    };
    let mut hosts = head
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"));
    let host = hosts.next().filter(|_| hosts.next().is_none());
    let host = host.and_then(|host| std::str::from_utf8(host.value).ok());
    let request = Request {
        path,
        query: query.to_string(),
        host: host.map(|host| host.trim().to_string()),
    };
    Some(Ok((request, method == "HEAD")))
}

/// Decodes `%20` and the like; `None` where the result is not UTF-8 or a code is damaged.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push((16 * high + low) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Incoming {
        parse(text.as_bytes()).expect("a whole head")
    }

    fn status(text: &str) -> u16 {
        parsed(text).expect_err("refused").status
    }

    #[test]
    fn a_request_is_read_when_its_head_is_whole() {
        let text = "GET /run/metrics.jsonl?from=12 HTTP/1.1\r\nHost: localhost:6006\r\n\r\n";
        for end in 0..text.len() {
            assert!(parse(&text.as_bytes()[..end]).is_none(), "{end}");
        }
        let (request, head_only) = parsed(text).expect("a request");
        let expected = Request {
            path: "/run/metrics.jsonl".to_string(),
            query: "from=12".to_string(),
            host: Some("localhost:6006".to_string()),
        };
        assert_eq!((request, head_only), (expected, false));
    }

    #[test]
    fn what_could_change_or_confuse_is_refused() {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get", "CONNECT"] {
            let text = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(status(&text), 405, "{method}");
        }
        for target in ["http://elsewhere/", "*", "/%", "/%zz", "/%ff"] {
            let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(status(&text), 400, "{target}");
        }
        assert_eq!(status("hello\r\n\r\n"), 400);
        let many = "X: y\r\n".repeat(MOST_HEADERS + 1);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
    }

    #[test]
    fn two_hosts_are_none() {
        let host = |headers: &str| {
            let request = parsed(&format!("GET / HTTP/1.1\r\n{headers}\r\n"));
            request.expect("a request").0.host
        };
        assert_eq!(host("hOsT:  a:1 \r\n"), Some("a:1".to_string()));
        assert_eq!(host("Host: a\r\nHost: b\r\n"), None);
        assert_eq!(host(""), None);
    }
}
