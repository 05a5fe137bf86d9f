//! Reading the text tables of instances and solutions, with errors that say where.

use crate::model::IdError;
use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes. The largest of the public set is well under one MiB.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// How many characters of a bad field an error shows.
const SHOWN: usize = 40;

/// What is wrong with the files of an instance or a solution, and where.
#[derive(Debug, thiserror::Error)]
pub enum MdrpError {
    /// The file cannot be opened, read, created or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is larger than any instance could be.
    #[error("{}: more than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line does not belong to the format.
    #[error("{file}:{line}: {fault}")]
    Line {
        /// The file, as `instance/file`, or its path when it is no text at all.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing in the file.
    #[error("the file is empty")]
    Empty,
    /// A header and no row below it.
    #[error("no row follows the header")]
    NoRows,
    /// More than the one row of parameters.
    #[error("only one row belongs into this file")]
    ExtraRow,
    /// Bytes that are no text.
    #[error("not UTF-8 text")]
    NotText,
    /// The header has another column, or none, where this one belongs.
    #[error("column {column} of the header must be {expected:?}, not {found:?}")]
    Header {
        /// The column, counted from 1.
        column: usize,
        /// What belongs there.
        expected: &'static str,
        /// What stands there; nothing when the header ends before it.
        found: String,
    },
    /// The header goes on after its last column.
    #[error("the header has a column too many: {found:?}")]
    ExtraHeader {
        /// What stands there.
        found: String,
    },
    /// A row with too few or too many fields.
    #[error("{expected} fields belong into a row, not {found}")]
    Fields {
        /// How many belong there.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A field that is no whole number.
    #[error("{column} must be a whole number, not {found:?}")]
    Number {
        /// The field's column.
        column: &'static str,
        /// What stands there.
        found: String,
    },
    /// A number outside its range.
    #[error("{column} must be within {min} to {max}, not {found}")]
    Range {
        /// The field's column.
        column: &'static str,
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
        /// What stands there.
        found: i64,
    },
    /// A field that is no id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The id `0`, which means "where the courier starts" in solutions.
    #[error("the id 0 is reserved for the place where a courier starts")]
    ReservedId,
    /// An id that was there before, in this file or in that of another kind.
    #[error("the id {id:?} is already in line {line} of {file}")]
    Duplicate {
        /// The id.
        id: String,
        /// Where it was first.
        file: &'static str,
        /// In which line it was first.
        line: usize,
    },
    /// An id of the kind that belongs here, but the instance has none such.
    #[error("the instance has no {kind} {id:?}")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// An order that is ready before it is placed.
    #[error("ready_time {ready} is before placement_time {placement}")]
    ReadyBeforePlacement {
        /// When it is placed.
        placement: i64,
        /// When it is ready.
        ready: i64,
    },
    /// A shift that ends before it begins.
    #[error("off_time {off} is before on_time {on}")]
    OffBeforeOn {
        /// The begin.
        on: i64,
        /// The end.
        off: i64,
    },
    /// A service time whose halves are not whole minutes.
    #[error("{column} must be even, because half of it falls before and half after the event, not {found}")]
    OddService {
        /// The field's column.
        column: &'static str,
        /// What stands there.
        found: i64,
    },
    /// The moves of one courier stand in two places.
    #[error("the moves of courier {courier:?} began further up and must not be split")]
    SplitMoves {
        /// Whose moves.
        courier: String,
    },
}

/// The head of `text` that an error shows.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// Attaches `path` to an IO error.
pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> MdrpError {
    let path = path.to_owned();
    move |source| MdrpError::Io { path, source }
}

/// The text of `dir/file`, at most [`MAX_FILE_BYTES`].
pub(super) fn read_text(dir: &Path, file: &str) -> Result<String, MdrpError> {
    let path = dir.join(file);
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|opened| opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(io_error(&path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(MdrpError::TooLarge { path });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        MdrpError::Line { file: path.display().to_string(), line, fault: Fault::NotText }
    })
}

/// The layout of one kind of file.
pub(super) struct Layout {
    /// The file's name.
    pub(super) file: &'static str,
    /// What separates fields.
    pub(super) separator: char,
    /// The header's columns, in order.
    pub(super) columns: &'static [&'static str],
    /// Whether the last column holds one field or more.
    pub(super) last_repeats: bool,
}

/// One row of a table.
pub(super) struct Row<'a> {
    name: &'a str,
    layout: &'static Layout,
    line: usize,
    fields: Vec<&'a str>,
}

impl Layout {
    /// An error at `line` of this file of the instance or solution `name`.
    pub(super) fn fault(&self, name: &str, line: usize, fault: Fault) -> MdrpError {
        MdrpError::Line { file: format!("{name}/{}", self.file), line, fault }
    }

    /// The rows of `text` after its header. Lines end with `\n` or `\r\n`; the last one may end without.
    pub(super) fn rows<'a>(
        &'static self,
        name: &'a str,
        text: &'a str,
    ) -> Result<impl Iterator<Item = Result<Row<'a>, MdrpError>>, MdrpError> {
        let mut lines = text.lines();
        let header = lines.next().ok_or_else(|| self.fault(name, 1, Fault::Empty))?;
        self.check_header(header).map_err(|fault| self.fault(name, 1, fault))?;
        Ok(lines.zip(2..).map(move |(text, line)| {
            let row = Row { name, layout: self, line, fields: text.split(self.separator).collect() };
            let (expected, found) = (self.columns.len(), row.fields.len());
            let fits = found == expected || (self.last_repeats && found > expected);
            if fits { Ok(row) } else { Err(row.fault(Fault::Fields { expected, found })) }
        }))
    }

    fn check_header(&self, header: &str) -> Result<(), Fault> {
        let mut found = header.split(self.separator);
        for (expected, column) in self.columns.iter().zip(1..) {
            let found = found.next().unwrap_or_default();
            if found != *expected {
                return Err(Fault::Header { column, expected, found: shown(found) });
            }
        }
        found.next().map_or(Ok(()), |extra| Err(Fault::ExtraHeader { found: shown(extra) }))
    }

    /// The header line and `rows` as text, each line ended by `\n`.
    pub(super) fn render(&self, rows: impl IntoIterator<Item = String>) -> String {
        let separator = self.separator.to_string();
        let mut text = self.columns.join(&separator);
        text.push('\n');
        for row in rows {
            text.push_str(&row);
            text.push('\n');
        }
        text
    }
}

impl<'a> Row<'a> {
    /// An error in this row.
    pub(super) fn fault(&self, fault: Fault) -> MdrpError {
        self.layout.fault(self.name, self.line, fault)
    }

    /// The text of a column; with `last_repeats` the first field of the last column.
    pub(super) fn field(&self, column: usize) -> &'a str {
        self.fields[column]
    }

    /// The fields from `column` on.
    pub(super) fn fields_from(&self, column: usize) -> &[&'a str] {
        &self.fields[column..]
    }

    /// The whole number in a column.
    pub(super) fn integer(&self, column: usize, range: RangeInclusive<i64>) -> Result<i64, MdrpError> {
        let (text, name) = (self.field(column), self.layout.columns[column]);
        let found = text.parse().map_err(|_| self.fault(Fault::Number { column: name, found: shown(text) }))?;
        if range.contains(&found) {
            return Ok(found);
        }
        let (min, max) = range.into_inner();
        Err(self.fault(Fault::Range { column: name, min, max, found }))
    }

    /// An id made of `text`.
    pub(super) fn id<T>(&self, text: &str, make: impl FnOnce(&str) -> Result<T, IdError>) -> Result<T, MdrpError> {
        if text == "0" {
            return Err(self.fault(Fault::ReservedId));
        }
        make(text).map_err(|error| self.fault(Fault::Id(error)))
    }
}
