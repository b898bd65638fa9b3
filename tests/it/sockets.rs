//! Sockets that systemd listens on before the daemon does. These tests are systemd here; they never start one.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use crate::daemon::{House, event, exchange, exchange_with_socket};

/// The daemon's command, with the sockets that its standard input and output are turned into, in this order.
pub(crate) fn activated(house: &House, sockets: [Option<OwnedFd>; 2]) -> Command {
    let serve = house.serve();
    let count = sockets.iter().flatten().count();
    let second = if count > 1 { "4>&1" } else { "" };
    let script = format!("exec 3<&0 {second} 0</dev/null 1>/dev/null; LISTEN_FDS={count} LISTEN_PID=$$ exec \"$0\" \"$@\"");
    let mut command = Command::new("bash");
    command
        .args(["-c", &script])
        .arg(serve.get_program())
        .args(serve.get_args())
        .env_remove("NOTIFY_SOCKET")
        .env_remove("HOOKWHEEL_SOCKET");
    let [stdin, stdout] = sockets.map(|socket| socket.map_or_else(Stdio::null, Stdio::from));
    command.stdin(stdin).stdout(stdout);
    command
}

#[test]
fn clients_of_passed_sockets_wait_for_the_daemon_and_none_is_refused() {
    let house = House::new("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = UnixListener::bind(house.path("passed.sock")).unwrap();
    let address = listener.local_addr().unwrap();
    for round in 0..3 {
        // Nobody accepts yet: the first time there is no daemon, later it is down.
        let client = |number: usize| -> JoinHandle<u16> {
            let body = event(&format!("e-{round}-{number}"));
            let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            std::thread::spawn(move || exchange(address, request.as_bytes()).expect("it is served").0)
        };
        let clients = (0..50).map(client).collect::<Vec<_>>();
        let socket = house.path("passed.sock");
        let operator = std::thread::spawn(move || exchange_with_socket(&socket, "GET", "/v1/status", "").expect("it is served").0);
        let sockets = [Some(listener.try_clone().unwrap().into()), Some(admin.try_clone().unwrap().into())];
        let daemon = house.start_with_output(activated(&house, sockets));
        assert_eq!(daemon.address, address);
        assert!(clients.into_iter().all(|client| client.join().unwrap() == 202), "{}", house.log());
        assert_eq!(operator.join().unwrap(), 200);
        assert!(house.log().contains("another admin socket than the configured one"));
        assert!(daemon.stop().success());
        assert!(house.path("passed.sock").exists(), "it is not the daemon's to remove");
    }
}

#[test]
fn a_passed_listener_is_enough_and_the_admin_socket_is_then_the_daemons_own() {
    let house = House::new("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let daemon = house.start_with_output(activated(&house, [Some(listener.into()), None]));
    assert_eq!(daemon.address, address);
    assert_eq!(house.json(&["status"])["pending"], 0);
    assert!(daemon.stop().success());
    assert!(!house.path("admin.sock").exists());
}

#[test]
fn what_cannot_be_used_is_refused_with_what_to_do() {
    let house = House::new("");
    let twice = [(); 2].map(|()| Some(TcpListener::bind("127.0.0.1:0").unwrap().into()));
    let datagram = [Some(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()), None];
    for (sockets, what) in [(twice, "there are two TCP sockets"), (datagram, "socket 1 is neither")] {
        let output = activated(&house, sockets).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(what) && said.contains("mend hookwheel.socket"), "{said}");
    }
}
