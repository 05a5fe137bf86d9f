//! The paths that code names, with grouped imports taken apart.

use crate::source::line_of;

/// Every path of two or more segments and every imported one, with its line from 1. `use a::{b, c::d}` gives `a::b` and
/// `a::c::d`, a glob gives `a::*`, and `self` in a group the path before the group.
pub(crate) fn paths(code: &str) -> Vec<(usize, String)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let word = |at: usize| tokens.get(at).map_or("", |(_, word)| word);
        if word(at) == "use" && (is_name(word(at + 1)) || word(at + 1) == "::" || word(at + 1) == "{") {
            at = import(&tokens, at + 1, "", &mut found);
        } else if is_name(word(at)) && word(at + 1) == "::" {
            let start = at;
            let mut path = word(at).to_owned();
            while word(at + 1) == "::" && is_name(word(at + 2)) {
                path = format!("{path}::{}", word(at + 2));
                at += 2;
            }
            // `pub(in crate::x)` says who may look, it does not look itself.
            let visibility = start >= 2 && word(start - 1) == "in" && word(start - 2) == "(";
            if !visibility {
                found.push((tokens[start].0, path));
            }
            at += 1;
        } else {
            at += 1;
        }
    }
    found.into_iter().map(|(at, path)| (line_of(code, at), path)).collect()
}

/// Reads one import tree from `at` on; gives the token behind it.
fn import(tokens: &[(usize, &str)], mut at: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let start = tokens.get(at).map_or(0, |token| token.0);
    let mut path = prefix.to_owned();
    while let Some(&(_, word)) = tokens.get(at) {
        match word {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.1 != "}") {
                    let next = import(tokens, at, &path, found);
                    // Whatever stands between two branches, a comma if anything, is stepped over.
                    at = if tokens.get(next).is_some_and(|token| token.1 != "}") { next + 1 } else { next };
                }
                return at + 1;
            }
            "as" => at += 2,
            "self" if !path.is_empty() => at += 1,
            _ if is_name(word) || word == "*" => {
                path = if path.is_empty() { word.to_owned() } else { format!("{path}::{word}") };
                at += 1;
            }
            _ => break,
        }
    }
    found.push((start, path));
    at
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single other characters, each with where it begins.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = code[at..].chars().next() {
        let len = if first.is_alphanumeric() || first == '_' {
            code[at..].find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(code.len() - at)
        } else if code[at..].starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push((at, &code[at..at + len]));
        }
        at += len;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<String> {
        paths(code).into_iter().map(|(line, path)| format!("{line} {path}")).collect()
    }

    #[test]
    fn groups_are_taken_apart() {
        let code =
            "pub use std::{fs, time::{Duration, Instant as I}, io::{self, Write as _}};\nuse crate::*;\nuse one;";
        let expected = [
            "1 std::fs",
            "1 std::time::Duration",
            "1 std::time::Instant",
            "1 std::io",
            "1 std::io::Write",
            "2 crate::*",
            "3 one",
        ];
        assert_eq!(found(code), expected);
    }

    #[test]
    fn paths_inside_code_count_where_they_begin() {
        let code =
            "pub(in crate::a) fn f() -> impl Fn() + use<'a> {\n  for x in crate::b\n::c(y) { Vec::<u8>::new() }\n}";
        assert_eq!(found(code), ["2 crate::b::c", "3 Vec"]);
    }

    #[test]
    fn unfinished_code_ends() {
        for code in ["use a::{b, ", "use ::", "use {", "a::", "use a::{;}", "use self;"] {
            paths(code);
        }
    }
}
