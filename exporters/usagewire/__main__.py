"""``python -m usagewire`` is ``usagewire``."""

from usagewire.cli import main

main(prog_name="usagewire")
