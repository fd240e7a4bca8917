//! The length that an answer gives for its body: one number, or none.

use http::{HeaderMap, HeaderValue, header};

use super::AnswerError;

/// The `Content-Length`, which stands there once afterwards: an equal one may be repeated, also in a list (RFC 9110 §8.6).
pub(super) fn only_length(headers: &mut HeaderMap) -> Result<Option<u64>, AnswerError> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else { return Ok(None) };
    if lines.next().is_none()
        && let Some(length) = number(first.as_bytes())
    {
        return Ok(Some(length));
    }
    let length = repeated_length(headers).ok_or(AnswerError::Ambiguous)?;
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(Some(length))
}

fn repeated_length(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let first = lengths.next()?;
    lengths.all(|length| length == first).then(|| number(first))?
}

/// Digits and nothing else, which `u64::from_str` is not content with.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(lines: &[&'static str]) -> (Option<Option<u64>>, Vec<String>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(line));
        }
        let length = only_length(&mut headers).ok();
        let left = headers.get_all(header::CONTENT_LENGTH).iter();
        (length, left.map(|value| value.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn an_equal_length_stands_there_once() {
        for lines in [&["3"][..], &["3", "3"], &["3, 3"], &["3,3", "3"]] {
            assert_eq!(length(lines), (Some(Some(3)), vec!["3".to_owned()]), "{lines:?}");
        }
        assert_eq!(length(&[]), (Some(None), vec![]));
        assert_eq!(length(&["18446744073709551615"]).0, Some(Some(u64::MAX)));
    }

    #[test]
    fn what_is_not_one_number_is_no_length() {
        for lines in [&["3", "4"][..], &["3, 4"], &["+3"], &["-3"], &["0x3"], &[""], &["3 3"], &["3,"], &["3", "03"]] {
            assert_eq!(length(lines).0, None, "{lines:?}");
        }
        assert_eq!(length(&["18446744073709551616"]).0, None);
    }
}
