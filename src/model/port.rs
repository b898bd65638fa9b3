//! Which ports a webhook may lead to. It never judges the address beside the port.
//!
//! The ports below 1024 belong to services of which most take a line of text from anybody: a POST to one of them would be mail, a print job or a command to it.

/// The ports of HTTP itself.
const OF_HTTP: [u16; 2] = [80, 443];
/// From here on a port belongs to no service of the system.
const UNPRIVILEGED_MIN: u16 = 1024;

/// Why a port is not dialled, in words; nothing when it may be. `allow_ports` are exceptions.
#[must_use]
pub fn port_refusal(port: u16, allow_ports: &[u16]) -> Option<String> {
    let may_be = port >= UNPRIVILEGED_MIN || OF_HTTP.contains(&port) || allow_ports.contains(&port);
    (!may_be).then(|| {
        format!("port {port} is not dialled: only 80, 443 and {UNPRIVILEGED_MIN} and above are; allow_ports in [egress] makes an exception")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_http_and_the_unprivileged_ones_may_be_dialled_and_exceptions_are_exact() {
        for port in [80, 443, 1024, 8700, 65_535] {
            assert_eq!(port_refusal(port, &[]), None, "{port}");
        }
        for port in [0, 1, 22, 25, 79, 81, 442, 444, 1023] {
            assert!(port_refusal(port, &[26]).unwrap().starts_with(&format!("port {port} is not dialled")), "{port}");
        }
        assert_eq!(port_refusal(25, &[26, 25]), None);
    }
}
