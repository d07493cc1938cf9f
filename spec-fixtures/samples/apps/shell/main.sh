#!/bin/sh
# Uses the tool that a buildpack put into a launch layer.
banner "the shell app runs as $(id -u) in $PWD"
