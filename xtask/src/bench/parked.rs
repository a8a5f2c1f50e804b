//! What a parked cell takes, and whether the size of its caller matters.

use std::thread::sleep;
use std::time::Duration;

use super::harness::Harness;
use super::numbers::Numbers;
use super::scene::{Scene, Who};

/// Memory of callers that are compared, in MiB.
const SIZES: [usize; 2] = [10, 1024];
/// The harness keeps so many cells parked; two are left, so that none is built between two runs.
const AT_ONCE: usize = 30;
const SETTLE: Duration = Duration::from_millis(5);

/// Parks so many cells and prints what one of them takes.
pub(super) fn memory(scene: &Scene, who: Who, cells: usize) -> Result<(), String> {
    let mut harness = start(scene, who)?;
    let answer = harness.ask(&format!("park\t{cells}"))?;
    let cost = Cost::parse(&answer).ok_or_else(|| format!("park: {answer}"))?;
    println!("\n{}", cost.text(cells));
    Ok(())
}

/// What the harness says of parked cells.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    micros: u64,
    kernel_kib: u64,
    user_kib: u64,
    descriptors: u64,
    run_micros: u64,
}

impl Cost {
    fn parse(answer: &str) -> Option<Self> {
        let mut numbers = answer.split(' ').map(|word| word.parse().ok());
        let mut number = || numbers.next().flatten();
        let cost = Self {
            micros: number()?,
            kernel_kib: number()?,
            user_kib: number()?,
            descriptors: number()?,
            run_micros: number()?,
        };
        numbers.next().is_none().then_some(cost)
    }

    fn text(&self, cells: usize) -> String {
        let count = u64::try_from(cells.max(1)).unwrap_or(u64::MAX);
        let Self { micros, kernel_kib, user_kib, descriptors, run_micros } = self;
        format!(
            "{cells} parked cells: each {} KiB ({} of the kernel, {} of its init), {} descriptors \
             and {} µs to build; a run among them took {run_micros} µs",
            (kernel_kib + user_kib) / count,
            kernel_kib / count,
            user_kib / count,
            descriptors / count,
            micros / count,
        )
    }
}

/// Runs from a small caller and from a large one in turn, and prints what they take.
pub(super) fn sizes(scene: &Scene, who: Who, runs: usize) -> Result<(), String> {
    let mut callers = Vec::new();
    for size in SIZES {
        let mut harness = start(scene, who)?;
        harness.ask(&format!("grow\t{size}"))?;
        callers.push((size, harness, [Numbers::default(), Numbers::default()]));
    }
    for round in 0..runs {
        for (_, harness, [warm, cold]) in &mut callers {
            if round % AT_ONCE == 0 {
                harness.ask("fill")?;
            }
            for (request, numbers) in [("warm", warm), ("cold", cold)] {
                sleep(SETTLE);
                let (micros, good) = harness.run(request)?;
                numbers.add(micros, good);
            }
        }
    }
    println!("\n{:<16} {:>12} {:>12}", "caller's memory", "warm, µs", "cold, µs");
    for (size, _, [warm, cold]) in &callers {
        let name = format!("{size} MiB");
        println!("{name:<16} {:>12} {:>12}", warm.percentile(50), cold.percentile(50));
    }
    Ok(())
}

fn start(scene: &Scene, who: Who) -> Result<Harness, String> {
    let dir = scene.dir();
    let argv = [format!("{dir}/launch"), "--serve".into(), format!("{dir}/payload/true")];
    Harness::start(scene.command(who, &argv))
}

#[cfg(test)]
mod tests {
    use super::Cost;

    #[test]
    fn costs_are_told_per_cell() {
        let cost = Cost::parse("2000 600 100 16 90").unwrap();
        let text = cost.text(2);
        assert!(
            text.contains("each 350 KiB (300 of the kernel, 50 of its init), 8 desc"),
            "{text}"
        );
        assert!(text.contains("1000 µs to build") && text.ends_with("took 90 µs"), "{text}");
        assert_eq!([Cost::parse("1 2 3 4"), Cost::parse("1 2 3 4 5 6")], [None, None]);
    }
}
