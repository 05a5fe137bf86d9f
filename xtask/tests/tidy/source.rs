//! Source files as the rules see them: code without comments and text literals, comments alone, tests marked.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) rule: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

/// One file of the repository.
pub(crate) struct Source {
    /// From the root of the repository, with `/` between.
    pub(crate) path: String,
    /// What stands in the file.
    pub(crate) text: String,
    /// Rust only: the text with comments and the content of literals blanked out; line for line the same.
    pub(crate) code: String,
    /// Rust only: the text with everything but comments blanked out; line for line the same.
    pub(crate) comments: String,
    /// Rust only: the lines, from 1, of items that exist in tests alone.
    tests: Vec<Range<usize>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = if has_extension(path, "rs") { split(text) } else { (String::new(), String::new()) };
        let whole = path.contains("/tests/") || path.ends_with("/tests.rs");
        let tests = if whole { std::iter::once(0..usize::MAX).collect() } else { test_items(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, comments, tests }
    }

    pub(crate) fn is_rust(&self) -> bool {
        has_extension(&self.path, "rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        has_extension(&self.path, "md")
    }

    /// Whether a line, from 1, belongs to tests alone.
    pub(crate) fn in_test(&self, line: usize) -> bool {
        self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// The lines of code outside tests, numbered from 1.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().zip(1..).map(|(line, number)| (number, line)).filter(|(number, _)| !self.in_test(*number))
    }

    pub(crate) fn finding(&self, line: usize, rule: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, rule: rule.into() }
    }
}

pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// The directory of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace").to_owned()
}

/// Every text file of the repository, by path.
pub(crate) fn repository() -> Vec<Source> {
    let mut sources = Vec::new();
    walk(&root(), "", &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    mark_test_modules(&mut sources);
    assert!(sources.iter().any(|source| source.path == "dispatch-core/src/lib.rs"), "the sources were not found");
    sources
}

fn walk(directory: &Path, prefix: &str, sources: &mut Vec<Source>) {
    const KINDS: [&str; 11] = ["rs", "toml", "md", "sh", "sql", "html", "js", "css", "yml", "yaml", "json"];
    // Cargo marks its target directories, whatever they are called.
    if directory.join("CACHEDIR.TAG").exists() {
        return;
    }
    for entry in std::fs::read_dir(directory).expect("a directory of the repository can be read") {
        let entry = entry.expect("a directory of the repository can be read");
        let name = entry.file_name().into_string().expect("names in the repository are UTF-8");
        let path = format!("{prefix}{name}");
        let hidden = name.starts_with('.') && ![".cargo", ".ci", ".github"].contains(&name.as_str());
        if entry.path().is_dir() {
            if !hidden && !["target", "artifacts", "corpus"].contains(&name.as_str()) {
                walk(&entry.path(), &format!("{path}/"), sources);
            }
        } else if prefix == ".ci/" || KINDS.iter().any(|kind| has_extension(&name, kind)) {
            let text = std::fs::read_to_string(entry.path()).expect("text files of the repository are UTF-8");
            sources.push(Source::new(&path, &text));
        }
    }
}

/// Marks the files of modules that are declared under `#[cfg(test)]` in the file above them.
pub(crate) fn mark_test_modules(sources: &mut [Source]) {
    let mut files = BTreeSet::new();
    for source in sources.iter() {
        let directory = match source.path.strip_suffix("/mod.rs").or(source.path.strip_suffix("/lib.rs")) {
            Some(directory) => directory.to_owned(),
            None => source.path.trim_end_matches(".rs").to_owned(),
        };
        for (line, _) in source.code.lines().zip(1..).filter(|(_, number)| source.in_test(*number)) {
            if let Some(name) = line.trim().strip_suffix(';').and_then(|line| line.split("mod ").nth(1)) {
                files.extend([format!("{directory}/{name}.rs"), format!("{directory}/{name}/mod.rs")]);
            }
        }
    }
    for source in sources.iter_mut().filter(|source| files.contains(&source.path)) {
        source.tests = std::iter::once(0..usize::MAX).collect();
    }
}

/// The lines of the items under `#[cfg(test)]`: from the attribute to the closing brace, or to the semicolon.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items: Vec<Range<usize>> = Vec::new();
    for (start, _) in code.match_indices("#[cfg(test)]").chain(code.match_indices("#[cfg(all(test,")) {
        let mut depth = 0usize;
        let mut end = code.len();
        for (at, c) in code[start..].char_indices().skip_while(|(_, c)| *c != ']') {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && (c == '}' || c == ';') {
                end = start + at;
                break;
            }
        }
        items.push(line_of(code, start)..line_of(code, end) + 1);
    }
    items
}

/// The line, from 1, of a byte of a text.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// Splits Rust into code and comments: two texts with the lines of the original. Literals are in neither.
fn split(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let before = code.chars().next_back();
        let (part, len) = next_part(rest, before);
        for c in rest[..len].chars() {
            let blank = if c == '\n' { '\n' } else { ' ' };
            code.push(if part == Part::Code { c } else { blank });
            comments.push(if part == Part::Comment { c } else { blank });
        }
        rest = &rest[len..];
    }
    (code, comments)
}

/// What the text begins with and how many bytes of it; `before` is the character of code before it.
fn next_part(text: &str, before: Option<char>) -> (Part, usize) {
    if text.starts_with("//") {
        return (Part::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Part::Comment, block_comment_len(text));
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if !in_word {
        let raw = text.trim_start_matches(['b', 'c']);
        if let Some(raw) = raw.strip_prefix('r').filter(|_| text.len() - raw.len() <= 1) {
            let opening = raw.find(|c| c != '#').unwrap_or(raw.len());
            if raw[opening..].starts_with('"') {
                let closing = format!("\"{}", &raw[..opening]);
                let start = text.len() - raw.len() + opening + 1;
                let end = text[start..].find(&closing).map_or(text.len(), |at| start + at + closing.len());
                return (Part::Literal, end);
            }
        }
    }
    if text.starts_with('"') {
        return (Part::Literal, quoted_len(text, '"'));
    }
    if text.starts_with('\'') && !is_lifetime(text) {
        return (Part::Literal, quoted_len(text, '\''));
    }
    (Part::Code, text.chars().next().map_or(0, char::len_utf8))
}

/// The length of a block comment; they nest.
fn block_comment_len(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// Whether a quote begins a lifetime rather than a character: `'a` without a quote behind the first letter.
fn is_lifetime(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    let first = chars.next();
    first.is_some_and(|c| c.is_alphabetic() || c == '_') && chars.next() != Some('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "let a = \"x // y\"; // note\nlet b = r#\"\n\"q\" */\"#; /* one /* two */\nthree */ let c = '\"';";
        let source = Source::new("a.rs", text);
        assert_eq!(source.code.lines().count(), text.lines().count());
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(words(&source.code), "let a = ; let b = ; let c = ;");
        assert_eq!(words(&source.comments), "// note /* one /* two */ three */");
    }

    #[test]
    fn quotes_that_are_no_literals() {
        let code = |text| Source::new("a.rs", text).code;
        assert_eq!(code("fn f<'a>(x: &'a str) -> char { 'x' }"), "fn f<'a>(x: &'a str) -> char {     }");
        assert_eq!(code(r"('\'', '\\', b'q', '{')"), "(    ,     , b   ,    )");
        assert_eq!(code(r#"(br"a", b"\"", c"x", bar"#), "(     , b    , c   , bar");
        assert_eq!(code("let über = 1; // ü"), "let über = 1;     ");
    }

    #[test]
    fn tests_end_with_their_item() {
        let text = "a\n#[cfg(test)]\nmod tests {\n  fn x() { \"}\" }\n}\nb\n#[cfg(test)]\nuse x::{y, z};\nc\n";
        let source = Source::new("a.rs", text);
        let outside: Vec<_> = source.product_lines().map(|(_, line)| line).collect();
        assert_eq!(outside, ["a", "b", "c"]);
        assert!(Source::new("x/tests/a.rs", "a").in_test(1));
    }

    #[test]
    fn a_module_declared_for_tests_is_one() {
        let mut sources = [
            Source::new("x/src/index/mod.rs", "mod grid;\n#[cfg(test)]\nmod differential;"),
            Source::new("x/src/index/differential.rs", "a"),
            Source::new("x/src/index/grid.rs", "a"),
        ];
        mark_test_modules(&mut sources);
        assert_eq!([0, 1, 2].map(|i: usize| sources[i].in_test(1)), [false, true, false]);
    }
}
