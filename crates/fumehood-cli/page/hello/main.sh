echo "Hello from Bash."
for n in {1..5}; do
    echo "$n squared is $((n * n))"
done
echo "This line went to standard error." >&2
