//! How durations, sizes, rates, networks and places are written. It never knows which key it reads.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::mistakes::Report;
use super::raw::{self, Section};
use crate::limits::RATE_COUNT_MAX;
use crate::model::{Rate, nearest};

/// What a duration looks like.
pub(super) const DURATION: &str = "a duration in quotes, such as \"250ms\", \"10s\", \"10m\", \"1h\" or \"2d\"";
/// What a size looks like.
pub(super) const SIZE: &str = "a size in quotes, such as \"64KiB\", \"8MiB\" or \"10GiB\"";
/// What a rate looks like.
pub(super) const RATE: &str = "a rate in quotes, such as \"50/s\", \"100/m\" or \"1000/h\"";
/// What a list of networks looks like.
pub(super) const NETWORKS: &str = "a list of networks, such as [\"10.1.2.0/24\"]";
/// What a path looks like.
pub(super) const PATH: &str = "a path in quotes";

const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const RATE_UNITS: [(&str, u64); 3] = [("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Milliseconds of a text such as `10s`, within bounds.
pub(super) fn duration_ms(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    quantity(text, &DURATION_UNITS, bounds, DURATION)
}

/// Bytes of a text such as `64KiB`, within bounds.
pub(super) fn size_bytes(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    quantity(text, &SIZE_UNITS, bounds, SIZE)
}

/// Attempts in a time, such as `50/s`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("expected {RATE}, found {text:?}");
    let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
    let per_ms = factor(unit, &RATE_UNITS).ok_or_else(wrong)?;
    let count = digits(count).ok_or_else(wrong)?;
    let within = u32::try_from(count).ok().filter(|count| (1..=RATE_COUNT_MAX).contains(count));
    let count = within.ok_or_else(|| format!("{text:?} is out of bounds: from 1/{unit} to {RATE_COUNT_MAX}/{unit}"))?;
    Ok(Rate { count, per_ms })
}

/// A network such as `10.1.2.0/24`, or a single address. Bits behind the prefix are refused: they show that something else was meant.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network = text.parse::<IpNet>().map_err(|_| {
        format!("{text:?} is not a network: expected an address and a prefix length, such as \"10.1.2.0/24\" (a name can't be allowed)")
    })?;
    if network.trunc() != network {
        return Err(format!("{text:?} has bits behind its prefix; did you mean \"{}\"?", network.trunc()));
    }
    Ok(network)
}

/// A path; a relative one begins in the directory of the configuration file.
pub(super) fn path(text: &str, config_directory: &Path) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err(format!("expected {PATH}, found {text:?}"));
    }
    if text.starts_with('~') {
        return Err(format!("{text:?}: \"~\" is not expanded here; write the whole path"));
    }
    Ok(config_directory.join(text))
}

/// A name for people: something to see, on one line, not too long.
pub(super) fn label(text: &str) -> Result<String, String> {
    let length_max = crate::limits::TITLE_LENGTH_MAX;
    if text.trim().is_empty() {
        return Err("expected some text, found none".into());
    }
    if text.chars().any(char::is_control) || text.chars().count() > length_max {
        return Err(format!("expected one line of at most {length_max} characters"));
    }
    Ok(text.to_owned())
}

/// A key whose value is a list of networks.
pub(super) fn networks(section: &mut Section<'_>, key: &'static str, report: &mut Report<'_>) -> Vec<IpNet> {
    let Some((list, _)) = section.list(key, NETWORKS, report) else { return Vec::new() };
    let mut networks = Vec::new();
    for value in list.iter() {
        let Some(text) = raw::text(value, key, "a network such as \"10.1.2.0/24\"", report) else { continue };
        match network(text) {
            Ok(network) => networks.push(network),
            Err(sentence) => report.wrong(value.span().start, format!("{key}: {sentence}")),
        }
    }
    networks
}

/// How so many milliseconds are written.
pub(super) fn duration(milliseconds: u64) -> String {
    shown(milliseconds, &DURATION_UNITS)
}

/// How so many bytes are written.
pub(super) fn size(bytes: u64) -> String {
    shown(bytes, &SIZE_UNITS)
}

/// How a quantity is written, in the largest unit that fits.
fn shown(quantity: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|(_, factor)| quantity >= *factor && quantity.is_multiple_of(*factor));
    let (unit, factor) = whole.or(units.last()).copied().unwrap_or(("", 1));
    format!("{}{unit}", quantity / factor)
}

fn quantity(text: &str, units: &[(&str, u64)], bounds: RangeInclusive<u64>, expected: &str) -> Result<u64, String> {
    let unit_starts = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(unit_starts);
    let (Some(count), Some(factor)) = (digits(count), factor(unit, units)) else {
        // Every letter is near to a unit of one letter.
        let longer_units = units.iter().map(|(name, _)| *name).filter(|name| name.len() > 1);
        let near = nearest(unit, longer_units).filter(|_| digits(count).is_some());
        let hint = near.map(|near| format!("; did you mean \"{count}{near}\"?"));
        return Err(format!("expected {expected}, found {text:?}{}", hint.unwrap_or_default()));
    };
    let value = count.checked_mul(factor).filter(|value| bounds.contains(value));
    value.ok_or_else(|| {
        let [low, high] = [bounds.start(), bounds.end()].map(|bound| shown(*bound, units));
        format!("{text:?} is out of bounds: from \"{low}\" to \"{high}\"")
    })
}

fn factor(unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

/// A number of digits alone: `u64::from_str` would take a sign.
fn digits(text: &str) -> Option<u64> {
    let value = text.parse().unwrap_or(u64::MAX);
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        let any = |text| duration_ms(text, 0..=u64::MAX);
        for (text, expected_ms) in [("250ms", 250), ("100s", 100_000), ("10m", 600_000), ("1h", 3_600_000), ("2d", 172_800_000), ("0s", 0)]
        {
            assert_eq!(any(text), Ok(expected_ms), "{text}");
        }
        for wrong in ["", "10", "s", "10 s", "1.5s", "-1s", "+1s", "10S", "1h30m", "١s"] {
            assert!(any(wrong).is_err(), "{wrong}");
        }
        assert!(any("99999999999999999999d").unwrap_err().contains("out of bounds"));
        assert_eq!(duration_ms("10m", 1..=300_000).unwrap_err(), "\"10m\" is out of bounds: from \"1ms\" to \"5m\"");
    }

    #[test]
    fn sizes_are_binary_and_near_units_are_suggested() {
        let any = |text| size_bytes(text, 0..=u64::MAX);
        assert_eq!(any("64KiB"), Ok(65_536));
        assert_eq!(any("10GiB"), Ok(10 << 30));
        assert_eq!(any("7B"), Ok(7));
        assert!(any("64KB").unwrap_err().ends_with("did you mean \"64KiB\"?"));
        assert!(any("64").is_err());
        assert_eq!(size_bytes("2MiB", 1..=1 << 20).unwrap_err(), "\"2MiB\" is out of bounds: from \"1B\" to \"1MiB\"");
    }

    #[test]
    fn rates_name_a_count_and_a_time() {
        assert_eq!(rate("50/s"), Ok(Rate { count: 50, per_ms: 1000 }));
        assert_eq!(rate("3/m").unwrap().to_string(), "3/m");
        assert_eq!(rate("7/h").unwrap().per_ms, 3_600_000);
        for wrong in ["", "50", "50/", "/s", "50/d", "5.5/s", "-1/s", "50 /s"] {
            assert!(rate(wrong).unwrap_err().starts_with("expected a rate"), "{wrong}");
        }
        assert_eq!(rate("0/s").unwrap_err(), "\"0/s\" is out of bounds: from 1/s to 1000000/s");
        assert!(rate("5000000000/s").is_err());
    }

    #[test]
    fn networks_are_addresses_with_a_prefix_and_never_names() {
        assert_eq!(network("10.1.2.0/24").unwrap().to_string(), "10.1.2.0/24");
        assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(network("fd00::/8").unwrap().to_string(), "fd00::/8");
        assert!(network("10.1.2.3/24").unwrap_err().ends_with("did you mean \"10.1.2.0/24\"?"));
        assert!(network("crm.internal").unwrap_err().contains("a name can't be allowed"));
        assert!(network("10.1.2.0/33").is_err());
    }

    #[test]
    fn relative_paths_begin_beside_the_configuration_file() {
        assert_eq!(path("x/y", Path::new("/etc/hookwheel")), Ok(PathBuf::from("/etc/hookwheel/x/y")));
        assert_eq!(path("/x", Path::new("/etc/hookwheel")), Ok(PathBuf::from("/x")));
        assert!(path("", Path::new("")).is_err());
        assert!(path("~/x", Path::new("")).unwrap_err().contains("not expanded"));
    }
}
