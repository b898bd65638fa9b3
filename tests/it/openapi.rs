//! The API as a contract: what `/openapi.json` says, and the running daemon held against it by a fuzzer that knows nothing else of it. It never looks inside the process.
//!
//! The fuzzer is [schemathesis](https://schemathesis.io). It is installed into a Python environment below `target/tmp` by the first run, and kept there. `FUZZ_SEED=7` makes other
//! examples, `FUZZ_EXAMPLES=1000` more of them.

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use crate::daemon::{Daemon, House, event, until, webhook};
use crate::python::{self, said};

/// Examples that are made up for each operation, beside those that go to the bounds.
const EXAMPLES: &str = "50";
const SEED: &str = "1";

/// A port at which the admin socket answers, since hardly any HTTP client can speak to a Unix socket.
fn relay(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // Once the daemon is gone, so is this.
            near.set_nodelay(true).unwrap();
            let Ok(far) = UnixStream::connect(&socket) else { return };
            thread::spawn(move || pass_on(&near, &far));
        }
    });
    address
}

fn pass_on(near: &TcpStream, far: &UnixStream) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*near, &mut &*far);
            let _ = far.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &*far, &mut &*near);
        let _ = near.shutdown(Shutdown::Both);
    });
}

/// Holds what answers at `address` against `document`.
fn fuzz(house: &House, name: &str, address: SocketAddr, document: &Value) {
    let place = python::environment("openapi-fuzzer", "tests/api/requirements.txt");
    let file = house.path(&format!("{name}.json"));
    fs::write(&file, document.to_string()).unwrap();
    let of = |variable: &str, default: &str| std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let (seed, examples) = (of("FUZZ_SEED", SEED), of("FUZZ_EXAMPLES", EXAMPLES));
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api");
    let output = Command::new(place.join("bin/schemathesis"))
        .arg("--config-file")
        .arg(scripts.join("schemathesis.toml"))
        .args(["--no-color", "run"])
        .arg(&file)
        .args(["--url", &format!("http://{address}"), "--seed", &seed, "--max-examples", &examples, "--generation-database", "none"])
        .envs([("PYTHONPATH", scripts.as_os_str()), ("FUZZ_DIRECTORY", house.directory.path().as_os_str())])
        .envs([("SCHEMATHESIS_HOOKS", "hooks"), ("PYTHONDONTWRITEBYTECODE", "1")])
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .current_dir(house.directory.path())
        .output()
        .unwrap();
    let again = format!("FUZZ_SEED={seed} FUZZ_EXAMPLES={examples}");
    assert!(output.status.success(), "the {name} does not keep to what it says of itself ({again}):\n{}", said(&output));
    let log = house.log();
    assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
}

/// A house with a delivery that ended and one that is pending.
fn furnished() -> House {
    House::new(&format!("[delivery]\ntimeout = \"1s\"\n{}", webhook("crm", "http://127.0.0.1:9/", "")))
}

/// Real names of things, for examples to be about.
fn with_examples(mut document: Value, examples: &[(&str, &str, String)]) -> Value {
    for (path, name, example) in examples {
        for operation in document["paths"][path].as_object_mut().unwrap().values_mut() {
            let parameters = operation["parameters"].as_array_mut().unwrap();
            let parameter = parameters.iter_mut().find(|parameter| parameter["name"] == *name).unwrap();
            parameter["schema"]["examples"] = json!([example]);
        }
    }
    document
}

#[test]
fn the_listener_answers_what_it_says_and_nothing_else() {
    let house = furnished();
    let daemon = house.start();
    let document = get(&daemon, "/openapi.json");
    fuzz(&house, "listener", daemon.address, &document);
    assert!(daemon.stop().success());
}

#[test]
fn the_admin_socket_answers_what_it_says_and_nothing_else() {
    let house = furnished();
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("order-1042").as_bytes()).0, 202);
    let delivery = until("there is a delivery", || house.json(&["deliveries", "list"])["deliveries"][0]["id"].as_str().map(str::to_owned));
    let token = house.json(&["sandbox", "new"])["token"].as_str().unwrap().to_owned();
    let examples = [
        ("/v1/deliveries/{id}", "id", delivery.clone()),
        ("/v1/deliveries/{id}/retry", "id", delivery.clone()),
        ("/v1/deliveries/{id}/cancel", "id", delivery),
        ("/v1/sandboxes/{token}/requests", "token", token),
    ];
    let document = with_examples(document_of(&house), &examples);
    fuzz(&house, "admin socket", relay(house.path("admin.sock")), &document);
    assert_eq!(house.json(&["status"])["version"], env!("CARGO_PKG_VERSION"), "it is as well as before");
    assert!(daemon.stop().success());
}

/// What the admin socket says of itself.
fn document_of(house: &House) -> Value {
    serde_json::from_str(&admin(house, "GET", "/openapi.json").1).unwrap()
}

fn get(daemon: &Daemon<'_>, path: &str) -> Value {
    serde_json::from_str(&ask(&mut TcpStream::connect(daemon.address).unwrap(), "GET", path).1).unwrap()
}

fn admin(house: &House, method: &str, path: &str) -> (u16, String) {
    ask(&mut UnixStream::connect(house.path("admin.sock")).unwrap(), method, path)
}

/// Status and body of an answer.
fn ask(stream: &mut (impl io::Read + io::Write), method: &str, path: &str) -> (u16, String) {
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Each route of CONTRACT, by the way that its commands go.
const PROMISED: [&str; 26] = [
    "get /v1/webhooks",
    "post /v1/webhooks",
    "get /v1/webhooks/{id}",
    "post /v1/webhooks/{id}/pause",
    "post /v1/webhooks/{id}/resume",
    "post /v1/webhooks/{id}/test",
    "post /v1/webhooks/{id}/rotate-secret",
    "get /v1/deliveries",
    "get /v1/deliveries/{id}",
    "post /v1/deliveries/{id}/retry",
    "post /v1/deliveries/{id}/cancel",
    "post /v1/deliveries/retry",
    "post /v1/events",
    "get /v1/events",
    "get /v1/events/{project}/{id}",
    "post /v1/explain",
    "get /v1/blacklist/{project}",
    "post /v1/blacklist/{project}",
    "get /v1/blacklist/{project}/{address}",
    "put /v1/blacklist/{project}/{address}",
    "delete /v1/blacklist/{project}/{address}",
    "get /v1/catalog",
    "get /v1/status",
    "post /v1/reload",
    "post /v1/backup",
    "get /openapi.json",
];

#[test]
fn everything_that_is_promised_is_described_and_every_route_that_is_described_is_there() {
    let house = furnished();
    let daemon = house.start();
    let document = document_of(&house);
    for promised in PROMISED {
        let (method, path) = promised.split_once(' ').unwrap();
        assert!(document["paths"][path][method].is_object(), "{promised}");
    }
    for (path, operations) in document["paths"].as_object().unwrap() {
        // Names that nothing has: what changes something changes nothing.
        let filled = path.replace("{id}", "nothing").replace("{project}", "nowhere.example").replace("{address}", "a@b.example");
        let filled = filled.replace("{token}", "nothing").replace("{name}", "nothing");
        for (method, operation) in operations.as_object().unwrap() {
            let (status, body) = admin(&house, &method.to_ascii_uppercase(), &filled);
            assert!(operation["responses"][status.to_string()].is_object(), "{method} {path} answers {status}: {body}");
            assert!(!body.contains("there is no GET") && status != 405, "{method} {path}: {body}");
        }
        let (status, problem) = admin(&house, "TRACE", &filled);
        assert_eq!((status, &serde_json::from_str::<Value>(&problem).unwrap()["status"]), (405, &json!(405)), "TRACE {path}");
    }
    assert!(daemon.stop().success());
}

#[test]
fn the_admin_socket_is_for_its_owner_and_group_whatever_the_umask_was() {
    for umask in ["000", "022", "077"] {
        let house = furnished();
        house.configure("");
        let moved = fs::read_to_string(house.path("webhooks.toml")).unwrap().replace("\"admin.sock\"", "\"run/admin.sock\"");
        fs::write(house.path("webhooks.toml"), moved).unwrap();
        let mut command = Command::new("sh");
        let serve = house.serve();
        command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).arg(serve.get_program()).args(serve.get_args());
        command.env_remove("NOTIFY_SOCKET").env_remove("HOOKWHEEL_SOCKET");
        let daemon = house.start_as(command);
        let mode = |path: &str| fs::metadata(house.path(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("run/admin.sock"), 0o660, "with umask {umask}");
        assert!([0o750, 0o700].contains(&mode("run")), "with umask {umask}: {:o}", mode("run"));
        assert!(daemon.stop().success());
    }
}
