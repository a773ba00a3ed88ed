//! Names of hosts in the one form that is stored and compared: lower case, other letters as they go over the wire.
//!
//! In: a host or a domain as somebody wrote it. Out: its labels in ASCII (RFC 5890: A-labels, by the algorithm of RFC 3492).
//! Of the mapping that browsers make before (UTS #46) lower case and the dots are done; names come composed from keyboards.

use std::borrow::Cow;

/// The dots of other scripts (UTS #46 §2.3).
const DOTS: [char; 4] = ['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'];
/// Letters of a label at most: names are shorter, and the algorithm takes time by the square of them.
const MOST: usize = 256;

/// A host or a domain in lower case and ASCII; a label that has no such form stays as it is.
#[must_use]
pub fn canonical(host: &str) -> Cow<'_, str> {
    if host.is_ascii() {
        let has_upper = host.bytes().any(|byte| byte.is_ascii_uppercase());
        return if has_upper { host.to_ascii_lowercase().into() } else { host.into() };
    }
    let label = |label: &str| {
        let lower = label.to_lowercase();
        match punycode(&lower).filter(|_| !lower.is_ascii()) {
            Some(encoded) => format!("xn--{encoded}"),
            None => lower,
        }
    };
    host.split(DOTS).map(label).collect::<Vec<_>>().join(".").into()
}

/// RFC 3492 §6.3; none: too long.
fn punycode(label: &str) -> Option<String> {
    let letters: Vec<u32> = label.chars().map(u32::from).collect();
    if letters.len() > MOST {
        return None;
    }
    let mut encoded: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(encoded.len()).ok()?;
    if basic > 0 {
        encoded.push('-');
    }
    let (mut next, mut delta, mut bias, mut handled) = (128_u32, 0_u32, 72_u32, basic);
    while (handled as usize) < letters.len() {
        let least = letters.iter().copied().filter(|letter| *letter >= next).min()?;
        delta = delta.checked_add((least - next).checked_mul(handled + 1)?)?;
        next = least;
        for letter in &letters {
            if *letter < next {
                delta = delta.checked_add(1)?;
            }
            if *letter == next {
                variable_length(delta, bias, &mut encoded);
                bias = adapt(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        next += 1;
    }
    Some(encoded)
}

/// A number as digits of growing weight (RFC 3492 §3.3).
fn variable_length(mut number: u32, bias: u32, into: &mut String) {
    let mut place = 36;
    loop {
        let threshold = place.clamp(bias + 1, bias + 26) - bias;
        if number < threshold {
            break into.push(digit(number));
        }
        into.push(digit(threshold + (number - threshold) % (36 - threshold)));
        number = (number - threshold) / (36 - threshold);
        place += 36;
    }
}

/// `a` to `z`, then `0` to `9`.
fn digit(value: u32) -> char {
    char::from_digit((value + 10) % 36, 36).unwrap_or('a')
}

/// RFC 3492 §6.1.
fn adapt(delta: u32, letters: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / 700 } else { delta / 2 };
    delta += delta / letters;
    let mut bias = 0;
    while delta > 455 {
        delta /= 35;
        bias += 36;
    }
    bias + 36 * delta / (delta + 38)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_they_go_over_the_wire() {
        for (written, wire) in [
            ("Example.COM", "example.com"),
            ("example.com", "example.com"),
            ("B\u{fc}cher.example", "xn--bcher-kva.example"),
            ("B\u{dc}CHER.Example", "xn--bcher-kva.example"),
            ("*.m\u{fc}nchen.de", "*.xn--mnchen-3ya.de"),
            ("\u{4f8b}\u{3048}\u{3002}\u{30c6}\u{30b9}\u{30c8}", "xn--r8jz45g.xn--zckzah"),
            ("\u{440}\u{444}", "xn--p1ai"),
            // RFC 3492 §7.1 (A), (B), (L).
            (
                "\u{644}\u{64a}\u{647}\u{645}\u{627}\u{628}\u{62a}\u{643}\u{644}\u{645}\u{648}\u{634}\u{639}\u{631}\u{628}\u{64a}\u{61f}",
                "xn--egbpdaj6bu4bxfgehfvwxn",
            ),
            (
                "\u{4ed6}\u{4eec}\u{4e3a}\u{4ec0}\u{4e48}\u{4e0d}\u{8bf4}\u{4e2d}\u{6587}",
                "xn--ihqwcrb4cv8a8dqg056pqjye",
            ),
            ("3\u{5e74}b\u{7d44}\u{91d1}\u{516b}\u{5148}\u{751f}", "xn--3b-ww4c5e180e575a65lsy2b"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(canonical(written), wire, "{written}");
        }
        let long = "\u{fc}".repeat(MOST + 1);
        assert_eq!(canonical(&long), long, "no name is that long");
        assert!(canonical(&"\u{10ffff}\u{80}".repeat(100)).is_ascii());
    }
}
