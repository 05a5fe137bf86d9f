//! Versions as HTTP has them: entity tags.

use super::problem::Problem;
use axum::http::{HeaderMap, HeaderName};

/// The tags of an `If-Match` or `If-None-Match` header.
#[derive(Debug, PartialEq)]
pub(super) enum Tags {
    /// `*`: any version.
    Any,
    /// These, each with whether it is weak.
    These(Vec<(bool, String)>),
}

/// What such a header looks like. Bytes beyond ASCII, which HTTP allows, name no version.
pub(super) const TAGS_PATTERN: &str = r#"^(\*|(,[ \t]*)*(W/)?"[!#-~]*"([ \t]*,([ \t]*(W/)?"[!#-~]*")?)*)$"#;

/// What the `ETag` of an answer looks like.
pub(super) const TAG_PATTERN: &str = r#"^"[0-9a-f]{16}"$"#;

impl Tags {
    /// The tags of a header; `None` if the request does not have it.
    pub(super) fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let mut lines = Vec::new();
        for line in headers.get_all(name) {
            let line = line.to_str().map_err(|_| wrong(name))?;
            lines.push(line);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        Self::parse(&lines.join(",")).map(Some).ok_or_else(|| wrong(name))
    }

    /// The tags of the bytes of one header.
    #[cfg(feature = "fuzzing")]
    pub(super) fn of_bytes(header: &[u8]) -> Option<Self> {
        let name = axum::http::header::IF_MATCH;
        let value = axum::http::HeaderValue::from_bytes(header).ok()?;
        Self::of(&HeaderMap::from_iter([(name.clone(), value)]), &name).ok().flatten()
    }

    /// As a header has them.
    #[cfg(feature = "fuzzing")]
    pub(super) fn to_text(&self) -> String {
        let Self::These(tags) = self else { return "*".to_owned() };
        let tag = |(weak, tag): &(bool, String)| format!("{}\"{tag}\"", if *weak { "W/" } else { "" });
        tags.iter().map(tag).collect::<Vec<_>>().join(", ")
    }

    fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        let (mut tags, mut rest) = (Vec::new(), text.trim_start());
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(',') {
                rest = after.trim_start();
                continue;
            }
            let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |strong| (true, strong));
            let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
            let plain = tag.bytes().all(|byte| byte.is_ascii_graphic());
            rest = after.trim_start();
            if !plain || !(rest.is_empty() || rest.starts_with(',')) {
                return None;
            }
            tags.push((weak, tag.to_owned()));
        }
        (!tags.is_empty()).then_some(Self::These(tags))
    }

    /// Whether one of them is this version; a weak one only counts where that is enough.
    pub(super) fn name(&self, version: &str, weak_counts: bool) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|(weak, tag)| tag == version && (weak_counts || !weak)),
        }
    }
}

fn wrong(name: &HeaderName) -> Problem {
    let name = if *name == axum::http::header::IF_MATCH { "If-Match" } else { "If-None-Match" };
    Problem::invalid(name, "must be * or ETags, each in double quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_http() {
        let these = |tags: &[(bool, &str)]| {
            Some(Tags::These(tags.iter().map(|(weak, tag)| (*weak, (*tag).to_owned())).collect()))
        };
        for (text, tags) in [
            ("*", Some(Tags::Any)),
            (" * ", Some(Tags::Any)),
            (r#""a""#, these(&[(false, "a")])),
            (r#""""#, these(&[(false, "")])),
            (r#"W/"a""#, these(&[(true, "a")])),
            (r#""a,b" ,W/"c","d""#, these(&[(false, "a,b"), (true, "c"), (false, "d")])),
            (r#", "a",, "b","#, these(&[(false, "a"), (false, "b")])),
            ("", None),
            (" ", None),
            (",", None),
            ("a", None),
            ("\"", None),
            (r#""a" "b""#, None),
            (r#""a"b"#, None),
            (r#"w/"a""#, None),
            (r#"*, "a""#, None),
            ("\"a b\"", None),
            ("\"a\tb\"", None),
        ] {
            assert_eq!(Tags::parse(text), tags, "{text}");
        }
    }

    #[test]
    fn a_weak_tag_is_for_reading() {
        let tags = Tags::parse(r#"W/"a", "b""#).unwrap();
        assert!(tags.name("a", true) && !tags.name("a", false) && tags.name("b", false) && !tags.name("c", true));
        assert!(Tags::Any.name("a", false));
    }
}
