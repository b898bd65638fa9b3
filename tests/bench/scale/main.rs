//! What much of everything costs the real daemon: a long queue, many webhooks, many events one after the other; memory and disk over the time beside it. It asserts no time.
//!
//! `cargo bench --bench scale` runs every case in its smaller size; `cargo bench --bench scale -- backlog` (or `webhooks`, `churn`) one of them. `BACKLOG=10000000`,
//! `WEBHOOKS=100000` and `CHURN=20000000` make them large. The data lies in a directory below `TMPDIR`: 10 GiB for the largest backlog.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says where by panicking")]

mod backlog;
mod churn;
mod house;
mod plot;
mod webhooks;

/// The size of a case: what the environment says, or the smaller one.
fn size(variable: &str, smaller: u64) -> u64 {
    std::env::var(variable).map_or(smaller, |text| text.parse().unwrap())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// How many a second.
fn rate(count: u64, elapsed_ms: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap()) * 1000.0 / f64::from(u32::try_from(elapsed_ms.max(1)).unwrap())
}

fn main() {
    let cases: [(&str, fn()); 3] = [("backlog", backlog::run), ("webhooks", webhooks::run), ("churn", churn::run)];
    let wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect::<Vec<_>>();
    for (name, run) in cases.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)) {
        println!("\n{name}\n");
        run();
    }
}
