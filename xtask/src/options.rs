//! Options that are numbers.

/// Reads `--name NUMBER` pairs into their places.
pub(crate) fn numbers(args: &[String], places: &mut [(&str, &mut u32)]) -> Result<(), String> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let place = places.iter_mut().find(|(name, _)| name == arg);
        let (_, place) = place.ok_or_else(|| format!("no option {arg}"))?;
        let value = args.next().and_then(|value| value.parse().ok());
        **place = value.ok_or_else(|| format!("{arg} needs a whole number"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn options_are_numbers_by_name() {
        let (mut one, mut other) = (1, 2);
        let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        numbers(&args("--b 7"), &mut [("--a", &mut one), ("--b", &mut other)]).unwrap();
        assert_eq!((one, other), (1, 7));
        assert!(numbers(&args("--b"), &mut [("--b", &mut other)]).is_err());
        assert!(numbers(&args("--c 1"), &mut [("--b", &mut other)]).is_err());
    }
}
