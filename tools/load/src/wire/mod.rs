//! What both sides here speak by hand. Bytes in, events out; no sockets, no clock.
//!
//! - [`content`]: the bodies the origin sends: the same bytes for the same size everywhere.
//! - [`chunked`]: the chunked transfer coding.
//! - [`response`]: the head of a response as the generator reads it.
//! - [`websocket`]: the frames the origin answers.

pub mod chunked;
pub mod content;
pub(crate) mod response;
pub(crate) mod websocket;

/// Appends a number in decimal digits.
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A number of decimal digits, nothing else.
pub(crate) fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// The field value without blanks around it.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_there_and_back() {
        for number in [0, 7, 10, 600, u64::MAX] {
            let mut text = Vec::new();
            push_decimal(&mut text, number);
            assert_eq!(text, number.to_string().as_bytes());
            assert_eq!(parse_decimal(&text), Some(number));
        }
        for bad in [&b""[..], b"-1", b"1 ", b"18446744073709551616"] {
            assert_eq!(parse_decimal(bad), None);
        }
    }
}
