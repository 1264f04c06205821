"""Methods of :class:`~lem_models.markets.bars.Bars` for the Hugging Face Hub; the work is in ``lem_models.hub``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, overload

import pandas as pd

if TYPE_CHECKING:
    from lem_models.hub.datasets.pull import HubStream
    from lem_models.markets.bars import Bars
    from lem_models.markets.calendar.choice import CalendarChoice

__all__ = ["HubBars"]


class HubBars:
    """What bars can do with the Hub."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        split: str = "train",
        source: str | None = None,
        licence: str | None = None,
        quirks: Sequence[str] = (),
        columns: Mapping[str, str] | None = None,
        private: bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        token: str | bool | None = None,
        commit_message: str | None = None,
        max_shard_size: int | str = "500MB",
        replace_card: bool = False,
    ) -> str:
        """Publish the bars as a split of a data set: parquet shards and a card, in one commit.

        Bars of any size go shard by shard; those of an ``.arrow`` file are never loaded whole. The bars are checked
        again before anything is sent. Other splits of the data set stay. A card that somebody wrote stays too, but for
        the keys in its head that say which files there are.

        Args:
            repo_id: ``org/name``; the repository is made if there is none.
            split: Name of the split, which is replaced if it is there.
            source: Where the bars come from, for the card.
            licence: Terms: a name that the Hub knows (``"cc-by-4.0"``), or ``"other: "`` and the terms in words.
            quirks: What readers must know of the bars, one sentence each.
            columns: Meaning and unit of other columns than those of a bar, by name.
            private: Whether a new repository is private; default the organisation's.
            branch: Branch to commit to, made if there is none; default the main one.
            create_pr: Open a pull request instead.
            token: Token with the right to write; default the one the machine is signed in with.
            commit_message: Message of the commit.
            max_shard_size: Size of a shard in memory at most, bytes or a text; its file is smaller.
            replace_card: Write a new card over the one in the repository.

        Returns:
            URL of the commit or pull request.

        Raises:
            BarsError: The licence is empty or says nothing, a bar breaks a rule, or another column is of a type that is
                not published; nothing is asked of the Hub then.
            LEMError: The Hub refuses or cannot be reached, or the card in the repository contradicts what is published.
        """
        from lem_models.hub.datasets.push import push_bars

        return push_bars(
            cast("Bars", self),
            repo_id,
            split=split,
            source=source,
            licence=licence,
            quirks=quirks,
            columns=columns,
            private=private,
            branch=branch,
            create_pr=create_pr,
            token=token,
            commit_message=commit_message,
            max_shard_size=max_shard_size,
            replace_card=replace_card,
        ).url

    @overload
    @classmethod
    def from_hub(
        cls,
        repo_id: str,
        *,
        split: str = ...,
        streaming: Literal[False] = ...,
        config: str | None = ...,
        revision: str | None = ...,
        token: str | bool | None = ...,
        cache_dir: str | Path | None = ...,
        local_files_only: bool = ...,
        calendar: CalendarChoice = ...,
        frequency: str | pd.Timedelta | None = ...,
    ) -> Bars: ...

    @overload
    @classmethod
    def from_hub(
        cls,
        repo_id: str,
        *,
        split: str = ...,
        streaming: Literal[True],
        config: str | None = ...,
        revision: str | None = ...,
        token: str | bool | None = ...,
        cache_dir: str | Path | None = ...,
        local_files_only: bool = ...,
        calendar: CalendarChoice = ...,
        frequency: str | pd.Timedelta | None = ...,
    ) -> HubStream: ...

    @classmethod
    def from_hub(
        cls,
        repo_id: str,
        *,
        split: str = "train",
        streaming: bool = False,
        config: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        calendar: CalendarChoice = "auto",
        frequency: str | pd.Timedelta | None = None,
    ) -> Bars | HubStream:
        """Read bars from a data set of parquet files on the Hub, checked as any table of bars.

        What was published with :meth:`push_to_hub` comes back exactly, and is compared with its content hash. No code
        in a repository is ever run, and files that would expand enormously are refused before they are unpacked.

        Args:
            repo_id: ``org/name``.
            split: Which split.
            streaming: Give a stream that reads piece by piece as it is gone over, and downloads nothing before:
                ``for piece in stream`` or ``stream.write("bars.arrow")``.
            config: Which of several tables of the repository; default its default one.
            revision: Branch, tag or commit; default the main branch.
            token: Token for private data sets; default the one the machine is signed in with, ``False`` for none.
            cache_dir: Folder of the cache; default the Hub's (``HF_HOME``).
            local_files_only: Ask nothing of the Hub: take the cached copy. Without a connection that is taken anyway.
            calendar: See :meth:`Bars.from_frame`; ``"auto"`` leaves published bars their calendar.
            frequency: See :meth:`Bars.from_frame`; the same holds for none.

        Returns:
            The bars; with ``streaming`` a :class:`~lem_models.hub.datasets.pull.HubStream`.

        Raises:
            BarsError: A bar breaks a rule, or a file is damaged, of other types, or expands beyond bounds.
            UnknownNameError: There is no such split, configuration or calendar.
            LEMError: The Hub does not have it, does not let the token see it, or cannot be reached and it is not
                cached; or a file is not what the Hub says it is.
        """
        from lem_models.hub.datasets.pull import pull_bars, stream_bars

        read = stream_bars if streaming else pull_bars
        return read(
            repo_id,
            split=split,
            config=config,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            calendar=calendar,
            frequency=frequency,
        )
