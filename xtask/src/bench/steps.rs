//! Where the time of the set-up goes, as the report says it.

use std::collections::BTreeMap;
use std::process::Stdio;

use super::numbers::Numbers;
use super::scene::{Scene, Who};

/// Prints the median of every step of the set-up, in the order of the steps.
pub(super) fn print(scene: &Scene, who: Who, runs: usize) {
    let mut order = Vec::new();
    let mut steps: BTreeMap<String, Numbers> = BTreeMap::new();
    for _ in 0..runs {
        for (step, micros) in report(scene, who).iter().flat_map(|report| parse(report)) {
            if !steps.contains_key(&step) {
                order.push(step.clone());
            }
            steps.entry(step).or_default().add(micros, true);
        }
    }
    println!("\n{:<42} {:>8} {:>8}", "step of the set-up, µs", "median", "p95");
    for step in order {
        let numbers = &steps[&step];
        println!("{step:<42} {:>8} {:>8}", numbers.percentile(50), numbers.percentile(95));
    }
}

/// The report of one run; none where that fails, which the table of launchers has shown.
fn report(scene: &Scene, who: Who) -> Option<String> {
    let (dir, path) = (scene.dir(), scene.home().join("report.json"));
    let volume = format!("{dir}/payload:/payload:ro");
    let argv = [
        format!("{dir}/fumehood"),
        "run".into(),
        "--volume".into(),
        volume,
        "--report".into(),
        path.display().to_string(),
        "--".into(),
        "/payload/true".into(),
    ];
    let mut command = scene.command(who, &argv);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    let report = std::fs::read_to_string(&path).ok()?;
    std::fs::remove_file(&path).ok()?;
    Some(report)
}

/// The pairs of `"step": NAME` and `"us": NUMBER`, wherever they stand. Names have no quotes.
fn parse(report: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut rest = report;
    while let Some((_, after)) = rest.split_once("\"step\"") {
        let Some(pair) = pair(after) else { break };
        found.push(pair);
        rest = after;
    }
    found
}

fn pair(after: &str) -> Option<(String, u64)> {
    let name = after.split('"').nth(1)?.to_owned();
    let (_, number) = after.split_once("\"us\"")?;
    let digits = number.trim_start_matches([':', ' ']);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    Some((name, digits[..end].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_steps_in_any_layout() {
        let report = r#"{"timing": {"setup_us": 900, "steps": [
            {"step": "mount /usr", "us": 12}, {"step":"pivot","us":7}]}}"#;
        assert_eq!(parse(report), [("mount /usr".into(), 12), ("pivot".into(), 7)]);
        assert_eq!(parse("{}"), []);
    }
}
