//! `pretrain --serve`: who is answered, what is read while a run trains, and that serving changes nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use serde_json::Value;

use crate::sandbox::{Ran, SafeTensors, Sandbox};

/// Without measurements and TensorBoard, which these tests do not need.
const BARE: &str = "--set eval.pairs=0 --set log.tensorboard=false --serve 127.0.0.1:0";

/// More steps than are taken before the test ends the run.
const ENDLESS: &str = "--steps 1000000 --set checkpoint.every_steps=1000000";

/// A run that is served.
struct Served {
    child: Child,
    port: u16,
    /// Reads what the run says.
    said: JoinHandle<String>,
}

impl Served {
    /// Starts a tiny run and waits until it has said where it is served.
    fn start(sandbox: &Sandbox, arguments: &str) -> Self {
        let mut child = sandbox.start(arguments);
        let stderr = child.stderr.take().expect("piped");
        let (sender, addresses) = channel();
        let said = thread::spawn(move || {
            let mut said = String::new();
            for line in BufReader::new(stderr).lines() {
                let line = line.expect("UTF-8");
                if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
                    let digits = rest.split('/').next().unwrap_or_default();
                    let _ = sender.send(digits.parse().expect("a port"));
                }
                said.push_str(&line);
                said.push('\n');
            }
            said
        });
        let port = next(&addresses);
        Self { child, port, said }
    }

    fn get(&self, path: &str) -> Response {
        self.ask("GET", path).expect("the run is served")
    }

    /// Sends a request as a browser on this machine does; `None` when nobody listens any more.
    fn ask(&self, method: &str, path: &str) -> Option<Response> {
        let host = format!("Host: 127.0.0.1:{}\r\n", self.port);
        self.send(&format!("{method} {path} HTTP/1.1\r\n{host}\r\n"))
    }

    fn send(&self, request: &str) -> Option<Response> {
        exchange(self.port, request)
    }

    /// `status.json`; `None` when nobody listens any more.
    fn status(&self) -> Option<Value> {
        let response = self.ask("GET", "/run/status.json")?;
        assert_eq!(response.status, 200);
        Some(serde_json::from_slice(&response.body).expect("JSON"))
    }

    /// Waits until the run has taken a step.
    fn wait_for_step(&self) {
        while self.status().expect("the run is served")["step"] == 0 {
            sleep(Duration::from_millis(5));
        }
    }

    /// Reads the status until nobody listens any more; the last one.
    fn last_status(&self) -> Value {
        let mut last = Value::Null;
        while let Some(status) = self.status() {
            last = status;
            sleep(Duration::from_millis(20));
        }
        last
    }

    fn ended(self) -> Ran {
        let mut output = self.child.wait_with_output().expect("ended");
        output.stderr = self.said.join().expect("no panic").into_bytes();
        Ran::from(output)
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

fn next(addresses: &Receiver<u16>) -> u16 {
    let found = addresses.recv_timeout(Duration::from_secs(60));
    found.expect("the run says where it is served")
}

struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    /// A header by its lower-case name.
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

/// Sends `request` and reads the response; `None` when the connection is refused or cut.
fn exchange(port: u16, request: &str) -> Option<Response> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).ok()?;
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(received[..end].to_vec()).expect("ASCII");
    let status = head.split(' ').nth(1).expect("a status");
    Some(Response {
        status: status.parse().expect("a number"),
        body: received[end + 4..].to_vec(),
        head,
    })
}

/// A folder that looks like a built page, beside a file that must not be served.
fn page(sandbox: &Sandbox) {
    sandbox.write("dist/index.html", "<!doctype html><title>page</title>");
    sandbox.write("dist/page/page.js", "export {};");
    sandbox.write("dist/dense-match/engine.js", "export {};");
    sandbox.write("dist/dense-match/a b.wasm", "\0asm");
    sandbox.write("secret.txt", "secret");
    #[cfg(unix)]
    std::os::unix::fs::symlink(sandbox.path("secret.txt"), sandbox.path("dist/link.txt"))
        .expect("linked");
}

/// The steps of the weights in a file. Checks that the file is whole: its tensors fill it, and no number is NaN.
fn steps_of(file: &[u8]) -> u64 {
    let parsed = SafeTensors::parse(file);
    let tensors = parsed.header.as_object().expect("an object");
    let ends = tensors
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(_, tensor)| tensor["data_offsets"][1].as_u64().expect("an end"));
    assert_eq!(ends.max(), Some(parsed.data.len() as u64));
    let mut numbers = parsed.data.chunks_exact(4);
    let finite = |four: &[u8]| f32::from_le_bytes(four.try_into().expect("4 bytes")).is_finite();
    assert!(numbers.all(finite));
    let info = parsed.header["__metadata__"]["densecl"].as_str();
    let info: Value = serde_json::from_str(info.expect("metadata")).expect("JSON");
    info["steps"].as_u64().expect("a number")
}

#[test]
fn a_run_that_is_read_all_the_time_ends_with_the_same_weights_and_log() {
    let sandbox = Sandbox::new();
    let run = "--steps 60 --seed 3 --set log.tensorboard=false";
    sandbox.pretrain(&format!("{run} --out alone")).succeeded();

    let arguments = format!("{run} --out served --serve 127.0.0.1:0");
    let served = Served::start(&sandbox, &arguments);
    let (mut steps, mut rows, mut last) = (Vec::new(), Vec::new(), Value::Null);
    while let Some(status) = served.status() {
        last = status;
        let Some(weights) = served.ask("GET", "/run/weights.safetensors") else {
            break;
        };
        if weights.status == 503 {
            assert_eq!(weights.header("retry-after"), Some("2"));
            sleep(Duration::from_millis(5));
            continue;
        }
        let length = weights.body.len().to_string();
        assert_eq!(weights.header("content-length"), Some(length.as_str()));
        steps.push(steps_of(&weights.body));
        let more = served.ask("GET", &format!("/run/metrics.jsonl?from={}", rows.len()));
        let Some(more) = more else { break };
        assert!(more.body.is_empty() || more.body.ends_with(b"\n"));
        rows.extend(more.body);
        if last["step"] == 60 {
            // Few steps are left to read; the end is slow because somebody watches.
            sleep(Duration::from_millis(100));
        }
    }
    let ran = served.ended().succeeded();
    assert!(
        ran.stderr.contains("this run is served at http://"),
        "{}",
        ran.stderr
    );

    assert!(steps.is_sorted(), "{steps:?}");
    let (first, newest) = (steps[0], steps[steps.len() - 1]);
    assert!(first < 60 && newest == 60, "{steps:?}");
    steps.dedup();
    assert!(steps.len() > 3, "{steps:?}");
    assert_eq!(last["phase"], "ended");
    assert_eq!(last["total_steps"], 60);
    // Before and after training.
    assert_eq!(last["measured"].as_array().map(Vec::len), Some(2), "{last}");
    assert_eq!(last["measured"][1]["step"], 60);
    assert_eq!(
        last["measured"][1]["accuracy"],
        sandbox.json("served/result.json")["correspondence_accuracy_after"]
    );
    let loss = last["figures"].as_array().expect("figures");
    assert!(
        loss.iter()
            .any(|figure| figure["name"] == "loss_dense" && figure["panel"] == "loss")
    );

    assert_eq!(rows, sandbox.read("served/metrics.jsonl"));
    assert!(sandbox.weights("served") == sandbox.weights("alone"));
    assert_eq!(sandbox.metrics("served"), sandbox.metrics("alone"));
    assert_eq!(
        sandbox.text("served/config.toml"),
        sandbox.text("alone/config.toml")
    );
}

#[test]
fn only_this_machine_is_answered_and_nothing_outside_the_page_is_read() {
    let sandbox = Sandbox::new();
    page(&sandbox);
    let served = Served::start(
        &sandbox,
        &format!("{ENDLESS} {BARE} --serve-page dist --out run"),
    );
    served.wait_for_step();
    let with_host = |host: &str| {
        let request = format!("GET /run/status.json HTTP/1.1\r\n{host}\r\n");
        served.send(&request).expect("an answer")
    };
    for ours in [
        "Host: localhost:9\r\n",
        "Host: 127.0.0.1\r\n",
        "host: [::1]:6006\r\n",
    ] {
        assert_eq!(with_host(ours).status, 200, "{ours}");
    }
    // As after DNS rebinding: the page's own name, which now leads here.
    for (other, status) in [
        ("Host: evil.example\r\n", 403),
        ("Host: localhost.evil.example:6006\r\n", 403),
        ("Host: 127.0.0.1\r\nHost: evil.example\r\n", 400),
        ("", 400),
    ] {
        let refused = with_host(other);
        assert_eq!(refused.status, status, "{other}");
        assert!(!refused.text().contains("phase"), "{}", refused.text());
    }

    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let refused = served.ask(method, "/run/status.json").expect("an answer");
        assert_eq!(refused.status, 405, "{method}");
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    }
    // The body of a refused request does not keep its sender from reading the refusal.
    let body = "x".repeat(30_000);
    let post = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000\r\n\r\n{body}");
    assert_eq!(served.send(&post).expect("an answer").status, 405);

    let whole = served.get("/run/weights.safetensors");
    let head = served
        .ask("HEAD", "/run/weights.safetensors")
        .expect("an answer");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(
        head.header("content-length"),
        whole.header("content-length")
    );

    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?x=1", "text/html; charset=utf-8"),
        ("/page/page.js", "text/javascript; charset=utf-8"),
        ("/dense-match/a%20b.wasm", "application/wasm"),
        ("/run/metrics.jsonl", "application/jsonl"),
    ] {
        let found = served.get(path);
        assert_eq!(
            (found.status, found.header("content-type")),
            (200, Some(kind)),
            "{path}"
        );
        // Without --serve-origin no page of another origin may read this.
        assert!(!found.head.contains("access-control"), "{}", found.head);
        assert_eq!(
            found.header("cross-origin-resource-policy"),
            Some("same-origin")
        );
    }
    let absolute = sandbox.path("secret.txt").display().to_string();
    for path in [
        "/../secret.txt",
        "/page/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/page/..%2f..%2fsecret.txt",
        "/..\\secret.txt",
        "//secret.txt",
        "/link.txt",
        "/run/../metrics.jsonl",
        "/run/checkpoints/step_00000001.safetensors",
        "/run/config.toml",
        "/page",
        "/page/",
        absolute.as_str(),
    ] {
        let refused = served.get(path);
        assert_eq!(refused.status, 404, "{path}");
        assert!(!refused.text().contains("secret"), "{path}");
    }
    for broken in [
        "GET http://127.0.0.1/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\u{16}\u{3}\u{1}hello\r\n\r\n",
    ] {
        assert_eq!(served.send(broken).expect("an answer").status, 400);
    }
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(40_000));
    assert!(
        served
            .send(&long)
            .is_none_or(|refused| refused.status == 431)
    );

    // A connection that says nothing keeps nobody else waiting.
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(("127.0.0.1", served.port)).expect("connected"))
        .collect();
    assert_eq!(served.get("/run/status.json").status, 200);
    for stream in silent {
        let _ = stream.shutdown(Shutdown::Both);
    }
    served.kill();
}

#[test]
fn a_page_elsewhere_may_read_only_if_it_is_named() {
    let sandbox = Sandbox::new();
    let arguments = format!("{ENDLESS} {BARE} --serve-origin http://Localhost:8080/ --out run");
    let served = Served::start(&sandbox, &arguments);
    for path in [
        "/run/status.json",
        "/run/weights.safetensors",
        "/",
        "/nothing",
    ] {
        let found = served.get(path);
        let allowed = found.header("access-control-allow-origin");
        assert_eq!(allowed, Some("http://localhost:8080"), "{path}");
        assert_eq!(found.header("vary"), Some("origin"));
    }
    assert!(served.get("/").text().contains("--serve-page"));
    served.kill();
}

#[cfg(unix)]
#[test]
fn whoever_watches_learns_how_a_run_ended() {
    use std::time::Instant;

    let sandbox = Sandbox::new();
    let stopped = Served::start(&sandbox, &format!("{ENDLESS} {BARE} --out stopped"));
    stopped.wait_for_step();
    crate::sandbox::interrupt(stopped.child.id());
    assert_eq!(stopped.last_status()["phase"], "stopped");
    assert_eq!(stopped.ended().code, Some(130));

    // A run that cannot go on: its device's memory is fine, but its loss is not finite.
    let diverging = format!("{ENDLESS} {BARE} --set optim.lr=1e30 --out failed");
    let failed = Served::start(&sandbox, &diverging);
    let last = failed.last_status();
    let ran = failed.ended();
    if last != Value::Null {
        assert_eq!(last["phase"], "failed", "{last}");
        let message = last["message"].as_str().expect("a message");
        assert!(ran.stderr.contains(message), "{message}: {}", ran.stderr);
    }
    ran.refused(&["finite"]);

    let mut killed = Served::start(&sandbox, &format!("{ENDLESS} {BARE} --out killed"));
    killed.wait_for_step();
    killed.child.kill().expect("killed");
    let last = killed.last_status();
    assert!(last == Value::Null || last["phase"] == "training", "{last}");
    killed.ended();

    // Nobody watches: the run ends at once, and its port is free.
    let unwatched = Served::start(&sandbox, &format!("--steps 1 {BARE} --out unwatched"));
    let port = unwatched.port;
    let begun = Instant::now();
    unwatched.ended().succeeded();
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
}

#[test]
fn of_several_ranks_the_first_is_served() {
    let sandbox = Sandbox::new();
    let run = "--steps 12 --set optim.accumulate=2 --set method.bn_groups=1 --set eval.pairs=0 --devices cpu,cpu";
    sandbox.pretrain(&format!("{run} --out alone")).succeeded();
    let served = Served::start(&sandbox, &format!("{run} --serve 127.0.0.1:0 --out served"));
    let last = served.last_status();
    let ran = served.ended().succeeded();
    assert_eq!(last["phase"], "ended");
    assert_eq!(ran.stderr.matches("this run is served").count(), 1);
    assert!(sandbox.weights("served") == sandbox.weights("alone"));
}

#[test]
fn what_cannot_be_served_is_refused_before_the_run() {
    let sandbox = Sandbox::new();
    page(&sandbox);
    sandbox.write("other/index.html", "<title>another page</title>");
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let taken = taken.local_addr().expect("an address").to_string();
    for (arguments, parts) in [
        (
            "--serve here".to_string(),
            ["--serve here", "127.0.0.1:6006"],
        ),
        (
            "--serve 127.0.0.1:99999".to_string(),
            ["--serve 127.0.0.1:99999", "127.0.0.1:6006"],
        ),
        (
            "--serve 203.0.113.7:6006".to_string(),
            ["203.0.113.7:6006", "does not have that address"],
        ),
        (format!("--serve {taken}"), [taken.as_str(), "in use"]),
        (
            "--serve 0 --serve-page nowhere".to_string(),
            ["--serve-page nowhere", "is not a folder"],
        ),
        (
            "--serve 0 --serve-page other".to_string(),
            ["--serve-page other", "no built page"],
        ),
        (
            "--serve 0 --serve-origin *".to_string(),
            ["--serve-origin *", "scheme, host and port"],
        ),
        (
            "--serve-page dist".to_string(),
            ["--serve-page needs --serve", "127.0.0.1:6006"],
        ),
        (
            "--serve-origin http://a".to_string(),
            ["--serve-origin needs --serve", "127.0.0.1:6006"],
        ),
    ] {
        let ran = sandbox.pretrain(&format!("--steps 1 {arguments} --out run"));
        ran.refused(&parts);
        assert!(!sandbox.path("run").exists(), "{arguments}");
    }
}
