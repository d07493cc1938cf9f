//! Dockerfiles: from text to instructions as data, and the rules of words and variables.
//!
//! The published parsers lose what an extender needs: the text of an instruction as it was written (it becomes the history
//! entry), the raw words before expansion, and the quoting of here-document names. Behaviour follows Docker's reference
//! documentation, "Dockerfile reference".

mod expand;
mod instruction;
mod lines;
mod words;

pub use expand::{Expander, Variables};
pub use instruction::{Command, Copy, Flags, Instruction, Kind, Source, parse_instruction};
pub use lines::Heredoc;

use crate::error::{Error, Result};

/// A Dockerfile, still with all of its stages.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// The escape character: `\` or, by `# escape`, a backtick.
    pub escape: char,
    /// `ARG` instructions before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// At least one.
    pub stages: Vec<Stage>,
}

/// A `FROM` and what follows it.
#[derive(Clone, Debug)]
pub struct Stage {
    pub from: Instruction,
    /// The image as it is written, not expanded.
    pub image: String,
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// # Errors
    /// With the number of the line, starting at 1.
    pub fn parse(text: &str) -> Result<Self> {
        let (escape, lines) = lines::split(text)?;
        let mut file = Self { escape, global_args: Vec::new(), stages: Vec::new() };
        if lines.is_empty() {
            return Err(Error::new("file with no instructions"));
        }
        for line in lines {
            let instruction = parse_instruction(line, escape)?;
            match (&instruction.kind, file.stages.last_mut()) {
                (Kind::From { image }, _) => {
                    let image = image.clone();
                    file.stages.push(Stage { from: instruction, image, instructions: Vec::new() });
                }
                (_, Some(stage)) => stage.instructions.push(instruction),
                (Kind::Arg(_), None) => file.global_args.push(instruction),
                (_, None) => {
                    return Err(Error::new(format!(
                        "dockerfile parse error on line {}: no build stage in current context",
                        instruction.line
                    )));
                }
            }
        }
        if file.stages.is_empty() {
            return Err(Error::new("no build stage in current context"));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &str) -> Vec<String> {
        Dockerfile::parse(file).unwrap().stages[0].instructions.iter().map(|i| i.text.clone()).collect()
    }

    #[test]
    fn instructions_as_written() {
        let file =
            "# c\n # escape=`\nARG base_image\nFROM ${base_image} AS x\nrun a \\\n# inside\n\n  b  \n  LABEL x=1\r\nRUN\nENV E=1";
        assert_eq!(texts(file), ["run a   b", "LABEL x=1", "RUN", "ENV E=1"]);
        assert_eq!(Dockerfile::parse(file).unwrap().stages[0].image, "${base_image}");
    }

    #[test]
    fn errors_name_the_line() {
        for (file, want) in [
            ("", "file with no instructions"),
            ("# only\n", "file with no instructions"),
            ("ARG a\n", "no build stage in current context"),
            ("FROM a\n\nFETCH x\n", "dockerfile parse error on line 3: unknown instruction: FETCH"),
            ("FROM a\nRUN <<EOT\necho\n", "dockerfile parse error on line 2: unterminated heredoc"),
            ("RUN a\nFROM b\n", "dockerfile parse error on line 1: no build stage in current context"),
            ("FROM a\nENV\n", "dockerfile parse error on line 2: ENV requires at least one argument"),
            ("FROM a\nENV x\n", "dockerfile parse error on line 2: ENV must have two arguments"),
            ("FROM a\nSHELL sh\n", "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form"),
            (
                "FROM a\nCOPY x\n",
                "dockerfile parse error on line 2: COPY requires at least two arguments, but only one was provided",
            ),
            ("FROM a\nCOPY --what=1 x y\n", "dockerfile parse error on line 2: unknown flag: what"),
        ] {
            assert_eq!(Dockerfile::parse(file).unwrap_err().to_string(), want, "{file:?}");
        }
    }

    #[test]
    fn stages() {
        assert_eq!(Dockerfile::parse("FROM a\nFROM b\n").unwrap().stages.len(), 2);
    }
}
