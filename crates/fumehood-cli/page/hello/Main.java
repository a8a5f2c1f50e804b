import java.util.stream.IntStream;

public class Main {
    public static void main(String[] arguments) {
        System.out.println("Hello from Java.");
        IntStream.rangeClosed(1, 5).map(n -> n * n).forEach(System.out::println);
        System.err.println("This line went to standard error.");
    }
}
