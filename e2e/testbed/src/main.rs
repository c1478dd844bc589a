//! The shared broker on the command line.

use std::process::ExitCode;

use faust_testbed::State;

const USAGE: &str = "\
Usage: faust-testbed COMMAND
  up                    start the Kafka of this user, if it doesn't run; prints its address
  down                  stop it and remove its data
  status                where it runs and logs; exit code 3 if it doesn't
  paths                 where Kafka itself lies, as shell variables; fetches and prepares it first
  tool CLASS ARGUMENTS  run one of Kafka's command line tools on it, such as TopicCommand --list
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("faust-testbed: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> std::io::Result<ExitCode> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["up"] => println!("{}", faust_testbed::up()?.bootstrap()),
        ["down"] => faust_testbed::down()?,
        ["status"] => match faust_testbed::status()? {
            State::Up { broker, pid } => println!("{}  process {pid}, log {}", broker.bootstrap(), broker.logs().display()),
            State::Down => {
                println!("down");
                return Ok(ExitCode::from(3));
            }
        },
        ["paths"] => print!("{}", faust_testbed::paths()?),
        ["tool", class, ref arguments @ ..] => {
            let status = faust_testbed::find()?.tool_command(class, arguments)?.status()?;
            return Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)));
        }
        ["help" | "--help" | "-h"] => print!("{USAGE}"),
        _ => {
            eprint!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}
