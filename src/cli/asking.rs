//! Questions to whoever sits at the terminal. Nothing is ever asked where nobody can answer: a script says `--yes`, or names what is missing.

use std::io::{self, BufRead, IsTerminal, Write};

use super::Output;
use super::failure::Failure;
use super::text::{plain, plain_lines};

/// Asks, and reads the answers line by line.
pub(super) struct Asker<'a> {
    input: &'a mut dyn BufRead,
    prompt: &'a mut dyn Write,
}

/// Whether somebody can be asked.
pub(super) fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

impl<'a> Asker<'a> {
    /// Questions go to `prompt`, answers come from `input`.
    pub(super) fn new(input: &'a mut dyn BufRead, prompt: &'a mut dyn Write) -> Self {
        Self { input, prompt }
    }

    /// Says something that is no question, made harmless.
    pub(super) fn tell(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.prompt, "{}", plain_lines(text)).map_err(|error| Failure::of_output(&error))
    }

    /// One answer to a question, which is made harmless, without the white space around it; `default` where it is empty.
    ///
    /// # Errors
    /// When the input ends.
    pub(super) fn ask(&mut self, question: &str, default: &str) -> Result<String, Failure> {
        let hint = if default.is_empty() { String::new() } else { format!(" [{}]", plain(default)) };
        write!(self.prompt, "{}{hint}: ", plain_lines(question))
            .and_then(|()| self.prompt.flush())
            .map_err(|error| Failure::of_output(&error))?;
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => Err(Failure::Refused("nothing was done: the answers ended before the questions".into())),
            Ok(_) => Ok(if line.trim().is_empty() { default.to_owned() } else { line.trim().to_owned() }),
            Err(error) => Err(Failure::Refused(format!("nothing was done: the answer can't be read: {error}"))),
        }
    }

    /// Asks until `parse` takes the answer; it says what is wrong with one that it does not take.
    ///
    /// # Errors
    /// When the input ends.
    pub(super) fn ask_until<T>(&mut self, question: &str, default: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Failure> {
        loop {
            let answer = self.ask(question, default)?;
            match parse(&answer) {
                Ok(value) => return Ok(value),
                Err(sentence) => self.tell(&format!("  {}", plain(&sentence)))?,
            }
        }
    }

    /// Yes or no; no where the answer is empty.
    ///
    /// # Errors
    /// When the input ends.
    pub(super) fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        let answer = self.ask(&format!("{question} [y/N]"), "")?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

/// Goes on when `yes` was said, or somebody says so now.
///
/// # Errors
/// When it was not to be, or nobody can be asked.
pub(super) fn confirmed(question: &str, yes: bool, output: &mut Output<'_>) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !is_possible() {
        return Err(Failure::Refused(format!("{question}\nnobody can be asked here, so nothing was done; --yes goes on")));
    }
    match Asker::new(&mut io::stdin().lock(), output.stderr).confirm(question)? {
        true => Ok(()),
        false => Err(Failure::Refused("nothing was done".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_in_questions_too() {
        let mut prompt = Vec::new();
        let mut input = io::Cursor::new("y\n\n");
        let mut asker = Asker::new(&mut input, &mut prompt);
        asker.tell("of \u{1b}[2J").unwrap();
        assert!(asker.confirm("remove \u{9b}2J?").unwrap());
        assert_eq!(asker.ask("name", "\u{202e}").unwrap(), "\u{202e}", "what is meant is not what is shown");
        assert_eq!(String::from_utf8(prompt).unwrap(), "of ␛[2J\nremove <U+009B>2J? [y/N]: name [<U+202E>]: ");
    }

    #[test]
    fn a_wrong_answer_is_explained_and_asked_for_again_and_an_empty_one_takes_the_default() {
        let mut prompt = Vec::new();
        let mut input = io::Cursor::new("x\n 12 \n\nYES\n\n");
        let mut asker = Asker::new(&mut input, &mut prompt);
        let number = asker.ask_until("how many", "", |text| text.parse::<u32>().map_err(|_| "a number, please".into())).unwrap();
        assert_eq!((number, asker.ask("name", "crm").unwrap().as_str()), (12, "crm"));
        assert!(asker.confirm("sure?").unwrap() && !asker.confirm("sure?").unwrap());
        assert!(asker.ask("more", "").unwrap_err().to_string().contains("the answers ended"));
        let asked = String::from_utf8(prompt).unwrap();
        assert_eq!(asked, "how many:   a number, please\nhow many: name [crm]: sure? [y/N]: sure? [y/N]: more: ");
    }
}
