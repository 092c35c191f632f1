"""What the Flex Template's launcher starts: `lanser build`, from the package that is installed in the image."""

from pipelines.build import main

if __name__ == "__main__":
    raise SystemExit(main())
