//! Patterns of models' names.

/// Does `pattern`, in which `*` stands for any text, fit the whole of `name`? Case does not matter.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on when what came after the last `*` did not fit.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(n) {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, n));
            }
            Some(it) if it.eq_ignore_ascii_case(byte) => (p, n) = (p + 1, n + 1),
            _ => match &mut retry {
                None => return false,
                Some((after, from)) => {
                    *from += 1;
                    (p, n) = (*after, *from);
                }
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|it| *it == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("a", "A", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("*", "", true),
            ("*-vl*", "x/y-12b-VL:free", true),
            ("*-vl", "x-vl-vla", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXc", false),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
