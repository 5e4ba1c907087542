"""The command line: ``python -m lightning_modules fit --model ConvNet --data MNIST``."""

import inspect
import re
import sys
from argparse import ArgumentParser
from typing import NoReturn

import lightning_modules
from lightning_modules.errors import UnknownNameError, named
from lightning_modules.extra import from_extra, pl

with from_extra():
    import jsonargparse  # noqa: F401  # Lightning says too late, and of no extra, that it is missing
    from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

_PROGRAM = "python -m lightning_modules"
_FROM_DATA = ("input_shape", "classes")
# All of them, because short class names are looked up among what is imported.
_EXPORTED = {name: getattr(lightning_modules, name) for name in lightning_modules.__all__}
_BASES = {"model": pl.LightningModule, "data": pl.LightningDataModule}


class Parser(LightningArgumentParser):
    """Lightning's parser, with the known names where a class is unknown."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong and end the process with status 2."""
        try:
            _check_class(message)
        except UnknownNameError as error:
            message = f"{error}, or the import path of another class"
        super().error(message, ex)


class CommandLine(LightningCLI):
    """Lightning's command line, with the model shaped by the data it is given."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Read a list of words, or those of the process; options override files in any order."""
        words = args if isinstance(args, list) else sys.argv[1:]
        self.config = parser.parse_args(_files_first(words))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Take from the data what a model needs to know of it (autoencoders know no classes)."""
        for name in _FROM_DATA:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; what they refuse is a wrong argument, not a crash."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            root = _root(error)
            if not isinstance(root, ValueError):
                raise
            self.parser.error(str(root))

    def after_instantiate_classes(self) -> None:
        """Forget links that the model did not take: Lightning keeps all as hyperparameters."""
        for name in set(_FROM_DATA) - set(inspect.signature(type(self.model)).parameters):
            self.model.hparams.pop(name, None)


def main(args: list[str] | None = None) -> None:
    """Run one subcommand; ``args`` replace those of the process.

    Raises:
        SystemExit: the arguments are wrong, or only help was asked for.
    """
    CommandLine(
        model_class=pl.LightningModule,
        datamodule_class=pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        # The same everywhere: Lightning's own default depends on what else is installed.
        trainer_defaults={
            "logger": {
                "class_path": "pytorch_lightning.loggers.CSVLogger",
                "init_args": {"save_dir": "."},
            }
        },
        save_config_kwargs={"overwrite": True},
        parser_kwargs={
            "prog": _PROGRAM,
            "description": "Train and test autoencoders and classifiers, as in: "
            "fit --model VanillaAutoencoder --data Digits --trainer.max_epochs 20",
        },
        parser_class=Parser,
        args=args,
    )


def _files_first(words: list[str]) -> list[str]:
    """Configuration files of a subcommand ahead of its options, because what comes later wins."""
    if not words or words[0].startswith("-"):  # what comes before a subcommand is in order already
        return words
    command, *rest = words
    reader = ArgumentParser(prog=_PROGRAM, add_help=False, allow_abbrev=False)
    reader.add_argument("-c", "--config", action="append", default=[])
    found, others = reader.parse_known_args(rest)
    return [command, *(f"--config={file}" for file in found.config), *others]


def _check_class(message: str) -> None:
    """Refuse, with the known ones, a class that jsonargparse did not find by its short name."""
    found = re.search(r'key "(model|data)".*dot import path string: (\S+)', message, re.DOTALL)
    if found:
        kind, wanted = found.groups()
        named(_classes(_BASES[kind]), wanted, kind)


def _classes(base: type) -> dict[str, type]:
    """What can be built of the names that this package exports."""
    return {
        name: entry
        for name, entry in _EXPORTED.items()
        if inspect.isclass(entry) and issubclass(entry, base) and not inspect.isabstract(entry)
    }


def _root(error: BaseException) -> BaseException:
    return _root(error.__cause__) if error.__cause__ else error


if __name__ == "__main__":
    main()
